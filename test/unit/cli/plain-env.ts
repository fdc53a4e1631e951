// The environment of a process whose words are compared: without what makes Node say something of its own there (a certificate file that is
// missing, colours asked for and refused, options, debugging), and without settings of Flotilla that the shell happens to have.
export function plainEnv(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(NODE_|FLOTILLA_|FORCE_COLOR$|NO_COLOR$|DEBUG$)/.test(name)),
  );
}
