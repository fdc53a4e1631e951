export declare const V8_FLAGS: string[];
export declare const THREADPOOL_SIZE: string;
