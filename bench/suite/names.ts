/** The contestant that is us, in every case but those of the device itself. */
export const OURS = 'ours';
/** Ours, with the same weights in f32. */
export const DENSE = 'dense f32';
