import type { Format } from '../formats/format.ts';

/** The kernels of products with packed weights: a page loads them with the first model that has such. */
type Products = typeof import('./sparse-linear.ts') & typeof import('./sparse-linear-variants.ts');

let loaded: Products | undefined;

/** Loads the kernels, where one of the formats is packed. */
export async function loadPackedProducts(formats: Iterable<Format>): Promise<void> {
  if (loaded || ![...formats].some(({ packed }) => packed)) return;
  const [products, variants] = await Promise.all([import('./sparse-linear.ts'), import('./sparse-linear-variants.ts')]);
  loaded = { ...products, ...variants };
}

/** What `loadPackedProducts` loaded. */
export function packedProducts(): Products {
  if (!loaded) throw new Error('The products of packed weights are not loaded.');
  return loaded;
}
