// What a page loads only when a model has to shrink.
export { chooseLayers } from './choose-layers.ts';
export { shrinkModel } from './shrink-model.ts';
export { spreadChannels } from './spread-channels.ts';
