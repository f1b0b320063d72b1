/** Where the sample model is, relative to the page: `build/sample-model.ts` says so. */
declare const __SAMPLE_URL__: string;

/** The cache in which the browser keeps the sample model: a constant of the build, since service workers import nothing. */
declare const __SAMPLE_CACHE__: string;
/** Whether this is the static build, which has a service worker. */
declare const __BUILT__: boolean;
