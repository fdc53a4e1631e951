export declare const V8_FLAGS: string[];
export declare function runtimeEnv(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv;
