import * as v from 'valibot';
import { METHODS, type Method, parseRecipe, type Recipe } from '../../src/index.ts';

export const PAGES = ['tensor', 'model'] as const;
export const PANELS = ['microscope', 'landscape', 'histogram', 'spectrum'] as const;
export const SHOWN = ['weight', 'magnitude', 'error'] as const;
export const MEASURES = ['magnitude', 'bits', 'sparsity', 'error', 'sensitivity'] as const;

export type Panel = (typeof PANELS)[number];
export type Shown = (typeof SHOWN)[number];
export type Measure = (typeof MEASURES)[number];

/** How the selected tensor is compressed. */
export interface Knobs {
  /** A format's name, or `keep`. */
  readonly format: string;
  /** Undefined: what the engine takes for the format. */
  readonly method?: Method | undefined;
  /** As recipes write it, such as `2:4`; empty: nothing is pruned. */
  readonly pattern: string;
  /** Store what an N:M pattern keeps, without its zeros. */
  readonly packed?: boolean | undefined;
  /** Of a product of two; 0: the matrix stays one. */
  readonly rank: number;
}

/** Where one looks: the middle, in weights, and how many pixels of the screen a weight takes. Undefined: all of the matrix. */
export interface Place {
  readonly column: number;
  readonly row: number;
  readonly zoom: number;
}

/** All that a link restores. */
export interface ViewState {
  readonly page: (typeof PAGES)[number];
  readonly tensor: string;
  readonly panel: Panel;
  readonly shown: Shown;
  readonly measure: Measure;
  /** Of the width, from 0 to 1: left of it the tensor is as it was. */
  readonly divider: number;
  readonly mask: boolean;
  readonly place?: Place | undefined;
  readonly knobs: Knobs;
  readonly recipe?: Recipe | undefined;
  readonly prompt: string;
}

export const FIRST_VIEW: ViewState = {
  page: 'tensor',
  tensor: '',
  panel: 'microscope',
  shown: 'weight',
  measure: 'magnitude',
  divider: 0.5,
  mask: true,
  knobs: { format: 'q4_0', pattern: '', rank: 0 },
  prompt: 'My fellow citizens',
};

const finite = v.pipe(v.number(), v.finite());
/** Links come from anywhere: what makes no sense is left out. */
const ViewSchema = v.object({
  page: v.fallback(v.picklist(PAGES), FIRST_VIEW.page),
  tensor: v.fallback(v.pipe(v.string(), v.maxLength(1024)), ''),
  panel: v.fallback(v.picklist(PANELS), FIRST_VIEW.panel),
  shown: v.fallback(v.picklist(SHOWN), FIRST_VIEW.shown),
  measure: v.fallback(v.picklist(MEASURES), FIRST_VIEW.measure),
  divider: v.fallback(v.pipe(v.number(), v.minValue(0), v.maxValue(1)), FIRST_VIEW.divider),
  mask: v.fallback(v.boolean(), true),
  place: v.fallback(
    v.optional(v.object({ column: finite, row: finite, zoom: v.pipe(v.number(), v.minValue(1e-4), v.maxValue(256)) })),
    undefined,
  ),
  knobs: v.fallback(
    v.object({
      format: v.pipe(v.string(), v.maxLength(64)),
      method: v.optional(v.picklist(METHODS)),
      pattern: v.pipe(v.string(), v.maxLength(64)),
      packed: v.optional(v.boolean()),
      rank: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(1e6)),
    }),
    FIRST_VIEW.knobs,
  ),
  recipe: v.fallback(v.optional(v.unknown()), undefined),
  prompt: v.fallback(v.pipe(v.string(), v.maxLength(2000)), FIRST_VIEW.prompt),
});

/** The part of an address behind `#`: JSON of what differs from the first view. */
export function encodeView(view: ViewState): string {
  const changed = Object.entries(view).filter(
    ([name, value]) => JSON.stringify(value) !== JSON.stringify(FIRST_VIEW[name as keyof ViewState]),
  );
  return changed.length === 0 ? '' : `#${encodeURIComponent(JSON.stringify(Object.fromEntries(changed)))}`;
}

export function decodeView(hash: string): ViewState {
  let data: unknown;
  try {
    data = JSON.parse(decodeURIComponent(hash.replace(/^#/, '')));
  } catch {
    return FIRST_VIEW;
  }
  const parsed = v.safeParse(ViewSchema, { ...FIRST_VIEW, ...(data as object) });
  if (!parsed.success) return FIRST_VIEW;
  const { recipe, ...view } = parsed.output;
  try {
    return recipe === undefined ? view : { ...view, recipe: parseRecipe(recipe) };
  } catch {
    return view;
  }
}
