/** Of the report page: light and dark, and on paper. */
export const STYLE = `
:root { color-scheme: light dark; --ink: #1b1f27; --soft: #5b6472; --line: #dfe3ea; --paper: #ffffff; --good: #2c7a51; --bad: #b3364a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --soft: #9aa3b2; --line: #2c323d; --paper: #14171d; --good: #63c394; --bad: #ee8091; }
}
body { margin: 0 auto; max-width: 1480px; padding: 2rem 1.5rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 0 0 .6rem; }
header p, figcaption, .tiles span, .note { color: var(--soft); }
header p { margin: .2rem 0 1.2rem; }
.gate { border-left: 4px solid; padding: .5rem .9rem; margin-bottom: 1rem; }
.gate ul { margin: .3rem 0 0; }
.passed { border-color: var(--good); } .passed b { color: var(--good); }
.failed { border-color: var(--bad); } .failed b, .bad b { color: var(--bad); }
.tiles { display: flex; flex-wrap: wrap; gap: 1px; }
.tiles div { flex: 1 1 140px; padding: .8rem 1rem; outline: 1px solid var(--line); }
.tiles b { display: block; font-size: 1.35rem; font-weight: 600; }
.tiles span { font-size: .86rem; overflow-wrap: anywhere; }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(560px, 100%), 1fr)); gap: 2rem 2.5rem; margin: 2rem 0; }
figure { margin: 0; break-inside: avoid; }
figure svg { width: 100%; height: auto; max-width: 780px; display: block; }
figcaption { font-size: .86rem; margin-top: .3rem; }
details { border-top: 1px solid var(--line); padding: .6rem 0; }
summary { cursor: pointer; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; width: 100%; }
td, th { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
td:first-child, th:first-child { text-align: left; }
pre { font-size: .8rem; overflow-x: auto; }
pre.mask { line-height: 1; margin: 0; width: 32ch; max-width: 100%; box-shadow: 0 0 0 1px var(--line); }
pre.mask.bars { margin-top: 1px; color: var(--soft); }
.masks { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1.2rem; margin: .8rem 0; }
.masks figcaption { overflow-wrap: anywhere; }
`;
