// Starts the cluster that most files share and tells them where it is.

import type { TestProject } from 'vitest/node';
import { Target, targetKind } from './target.ts';

declare module 'vitest' {
  interface ProvidedContext {
    urls: string[];
    monitorUrls: string[];
    names: string[];
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const target = new Target(targetKind());
  try {
    await target.start(3);
  } catch (error) {
    await target.stop();
    throw error;
  }
  project.provide('urls', target.urls);
  project.provide('monitorUrls', target.monitorUrls);
  project.provide('names', target.names);
  return async () => {
    if (process.env['CONFORMANCE_LOGS']) process.stderr.write(target.logs());
    await target.stop();
  };
}
