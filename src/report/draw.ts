import { parse, View } from 'vega';
import { type Config, compile, type TopLevelSpec } from 'vega-lite';

/** Text and lines take the colour of the page around them, so that one drawing serves light and dark. */
const CONFIG: Config = {
  background: 'transparent',
  // All drawings as wide as each other, legends and titles included.
  autosize: { type: 'fit-x', contains: 'padding' },
  point: { opacity: 1 },
  font: 'system-ui, sans-serif',
  axis: {
    labelColor: 'currentColor',
    titleColor: 'currentColor',
    titleFontWeight: 'normal',
    domainColor: 'currentColor',
    tickColor: 'currentColor',
    gridColor: 'currentColor',
    gridOpacity: 0.12,
    domainOpacity: 0.4,
    tickOpacity: 0.4,
    labelAngle: 0,
    labelLimit: 220,
  },
  legend: { labelColor: 'currentColor', titleColor: 'currentColor', orient: 'top', columns: 5, symbolOpacity: 1 },
  view: { stroke: null },
};

/** A specification as an SVG document, drawn without a screen. */
export async function drawSvg(spec: TopLevelSpec): Promise<string> {
  const view = new View(parse(compile(spec, { config: CONFIG }).spec), { renderer: 'none' });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}
