/** How errors are weighed by inputs: by all of H, or by its diagonal. */
export const WHITEN_BY = ['hessian', 'columns'] as const;
/** One of them. */
export type WhitenBy = (typeof WHITEN_BY)[number];
