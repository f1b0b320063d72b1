import { type Format, isSparse } from '../formats/format.ts';

/** The kernels of products with weights of which only some are stored: a page loads them with the first model that has such. */
type Products = typeof import('./sparse-products.ts');

let loaded: Products | undefined;

/** Loads the kernels, where one of the formats is packed or has blocks. */
export async function loadPackedProducts(formats: Iterable<Format>): Promise<void> {
  if (loaded || ![...formats].some(isSparse)) return;
  loaded = await import('./sparse-products.ts');
}

/** What `loadPackedProducts` loaded. */
export function packedProducts(): Products {
  if (!loaded) throw new Error('The products of packed weights are not loaded.');
  return loaded;
}
