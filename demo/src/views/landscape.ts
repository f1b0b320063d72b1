import { instanceIndex, mix, positionLocal, select, storage, texture, uniform, vec2, vec3, vec4 } from 'three/tsl';
import {
  AmbientLight,
  BoxGeometry,
  DataTexture,
  DirectionalLight,
  InstancedBufferGeometry,
  LinearFilter,
  Mesh,
  MeshLambertNodeMaterial,
  PerspectiveCamera,
  RGBAFormat,
  Scene,
  SRGBColorSpace,
  StorageBufferAttribute,
  WebGPUCoordinateSystem,
  WebGPURenderer,
} from 'three/webgpu';
import { packParams, read, readWrite } from '../../../src/gpu/kernel.ts';
import { DeviceLostError, type Gpu } from '../../../src/index.ts';
import { each } from '../../../src/kernels/each.ts';
import source from '../../shaders/landscape.wgsl';
import { byId } from '../dom.ts';
import { latest } from '../engine/coalesce.ts';
import type { TensorSession } from '../engine/tensor-session.ts';
import { cssColour, magnitudeColour, paletteWords } from '../palette.ts';
import type { Store } from '../store.ts';
import { countText, weightText } from '../units.ts';
import { cameraFor } from './landscape-camera.ts';
import { drawScale } from './landscape-scale.ts';
import { explain, say } from './notices.ts';

/** Columns along a side: a software device draws few. */
const SIDES = { software: 64, hardware: 128 } as const;
/** Milliseconds in which weights fall. */
const FALL = 900;
/** Of the limit where colours end: higher columns are cut off. */
const HIGHEST = 1.6;
/** How high the limit is, in sides of the landscape; and how high zero is. */
const HEIGHT = 0.2;
const FLOOR = 0.06;

/** |w| as a landscape, drawn by three.js on the engine's device from a buffer that the engine fills. */
export class Landscape {
  readonly #gpu: Gpu;
  readonly #store: Store;
  readonly #side: number;
  readonly #heights: GPUBuffer;
  readonly #renderer: WebGPURenderer;
  readonly #scene = new Scene();
  readonly #camera = new PerspectiveCamera();
  readonly #canvas = byId('landscape-canvas', HTMLCanvasElement);
  readonly #time = uniform(1);
  readonly #limit = uniform(1);
  readonly #original = uniform(0);
  readonly #tint = uniform(0);
  readonly #listening = new AbortController();
  #palette: DataTexture | undefined;
  #tensor: TensorSession | undefined;
  #fresh = true;
  #shown = false;
  #ready = false;
  #frame = 0;
  #fallFrom = 0;
  #angle = 0.7;
  #tilt = 0.55;
  #nearness = 1;
  frames = 0;

  constructor(gpu: Gpu, store: Store) {
    this.#gpu = gpu;
    this.#store = store;
    const software = gpu.description.software || /swiftshader|llvmpipe/i.test(gpu.description.description);
    this.#side = software ? SIDES.software : SIDES.hardware;
    this.#heights = gpu.memory.allocate(16 * this.#side ** 2, 'landscape');
    this.#renderer = new WebGPURenderer({
      canvas: this.#canvas,
      device: gpu.device,
      antialias: !software,
      alpha: true,
    });
    this.#listen();
  }

  async open(): Promise<void> {
    const stops = Array.from({ length: 9 }, (_, i) => cssColour(magnitudeColour(i / 8))).join(',');
    byId('landscape-bar').style.background = `linear-gradient(to right, ${stops})`;
    await this.#renderer.init();
    this.#renderer.setClearColor(0x000000, 0);
    const count = this.#side ** 2;
    const heights = new StorageBufferAttribute(new Float32Array(4), 4);
    // The engine's buffer in place of one that the renderer would make: nothing is copied.
    (this.#renderer.backend as unknown as { get(of: object): { buffer?: GPUBuffer } }).get(heights).buffer =
      this.#heights;
    const column = storage(heights, 'vec4', count).toReadOnly().element(instanceIndex);
    const height = select(this.#original.greaterThan(0.5), column.w, mix(column.x, column.y, this.#time));
    const side = this.#side;
    const x = instanceIndex.mod(side).toFloat();
    const z = instanceIndex.div(side).toFloat();
    const there = select(height.lessThan(0), 0, 1);
    const material = new MeshLambertNodeMaterial();
    const high = height.div(this.#limit).clamp(0, HIGHEST);
    material.positionNode = vec3(
      positionLocal.x.mul(there).add(x.sub(side / 2)),
      positionLocal.y
        .add(0.5)
        .mul(high.mul(HEIGHT * side).add(FLOOR))
        .mul(there),
      positionLocal.z.mul(there).add(z.sub(side / 2)),
    );
    this.#palette = paletteTexture();
    const colour = texture(this.#palette, vec2(high.clamp(0.01, 0.99).toVarying(), 0.5));
    const gone = column.z.mul(this.#tint).mul(0.7).toVarying();
    material.colorNode = vec4(mix(colour.rgb, vec3(0.62, 0.02, 0.18), gone), 1);
    const box = new BoxGeometry(0.92, 1, 0.92);
    const geometry = new InstancedBufferGeometry();
    geometry.index = box.index;
    for (const name of ['position', 'normal', 'uv']) geometry.setAttribute(name, box.getAttribute(name));
    geometry.instanceCount = count;
    const mesh = new Mesh(geometry, material);
    mesh.frustumCulled = false;
    const sun = new DirectionalLight(0xffffff, 2.2);
    sun.position.set(0.5, 1, 0.25);
    this.#scene.add(mesh, sun, new AmbientLight(0xffffff, 1.5));
    this.#camera.matrixAutoUpdate = false;
    // The renderer would make the projection anew for its own kind of coordinates.
    this.#camera.coordinateSystem = WebGPUCoordinateSystem;
    this.#ready = true;
  }

  show(tensor: TensorSession | undefined): void {
    this.#tensor = tensor;
    this.#fresh = true;
    this.changed();
  }

  visible(shown: boolean): void {
    this.#shown = shown;
    if (shown) this.changed();
  }

  /** The knobs made something else of the tensor: columns fall or rise to it. */
  changed(): void {
    if (this.#shown && this.#ready) void this.#update();
  }

  /** One looks elsewhere: the landscape is of that place. */
  moved(): void {
    this.#fresh = true;
    this.changed();
  }

  readonly #update = latest<void>(
    async () => {
      const tensor = this.#tensor;
      if (!tensor?.figures) return;
      const { rows, k } = tensor;
      const side = this.#side;
      const { left, top, step } = this.#region(tensor);
      await this.#gpu.scheduler.run([
        {
          label: 'landscape',
          ...each(side * side, { source }),
          bindings: [
            read(tensor.before),
            read(tensor.after),
            read(tensor.mask),
            readWrite({ buffer: this.#heights, size: 16 * side * side }),
          ],
          params: packParams(rows, k, left, top, step, side, Number(tensor.masked), Number(this.#fresh)),
        },
      ]);
      this.#limit.value = Math.min(tensor.summary.largest, 3 * tensor.summary.rms) / (step > 1 ? 1.5 : 1) || 1;
      this.#tint.value = Number(this.#store.view.mask);
      const until = (count: number, start: number) => Math.min(count, start + side * step);
      byId('landscape-scale').textContent =
        `rows ${countText(top)} to ${countText(until(rows, top) - 1)}, columns ${countText(left)} to ${countText(until(k, left) - 1)}; ` +
        (step === 1 ? 'a column is a weight' : `a column is ${step} × ${step} weights`);
      byId('landscape-high').textContent = `≥ ${weightText(this.#limit.value)}`;
      const still = this.#fresh || matchMedia('(prefers-reduced-motion: reduce)').matches;
      this.#fallFrom = still ? Number.NEGATIVE_INFINITY : performance.now();
      this.#fresh = false;
      this.#redraw();
    },
    (error) => {
      if (!(error instanceof DeviceLostError)) say('landscape', explain(error));
    },
  );

  /** The square that is shown: around the microscope's place where that is close, else all of the matrix. */
  #region({ rows, k }: TensorSession): { left: number; top: number; step: number } {
    const { place } = this.#store.view;
    const side = this.#side;
    const whole = Math.max(1, Math.ceil(Math.max(rows, k) / side));
    const step = place ? Math.min(whole, Math.max(1, Math.round(6 / place.zoom))) : whole;
    const start = (middle: number, size: number) =>
      Math.max(0, Math.min(Math.round(middle - (side * step) / 2), size - side * step));
    return { step, left: start(place?.column ?? k / 2, k), top: start(place?.row ?? rows / 2, rows) };
  }

  #redraw(): void {
    this.#frame ||= requestAnimationFrame((now) => {
      this.#frame = 0;
      if (!this.#shown) return;
      const t = Math.min(1, (now - this.#fallFrom) / FALL);
      // Things fall faster the longer they do.
      this.#time.value = t < 1 ? t * t : 1;
      this.#draw();
      if (t < 1) this.#redraw();
    });
  }

  #draw(): void {
    const { clientWidth, clientHeight } = this.#canvas;
    if (clientWidth === 0) return;
    this.#renderer.setPixelRatio(Math.min(2, devicePixelRatio));
    this.#renderer.setSize(clientWidth, clientHeight, false);
    const side = this.#side;
    const extent = { side, height: HIGHEST * HEIGHT * side };
    const from = { angle: this.#angle, tilt: this.#tilt, nearness: this.#nearness };
    const seen = cameraFor(from, extent, clientWidth / clientHeight);
    this.#camera.projectionMatrix.fromArray(seen.projection);
    this.#camera.projectionMatrixInverse.copy(this.#camera.projectionMatrix).invert();
    this.#camera.matrix.fromArray(seen.camera);
    this.#camera.updateMatrixWorld(true);
    this.#renderer.render(this.#scene, this.#camera);
    drawScale(seen, extent, HIGHEST * this.#limit.value, { width: clientWidth, height: clientHeight });
    this.frames++;
  }

  #turn(angle: number, tilt: number, distance = 1): void {
    this.#angle += angle;
    this.#tilt = Math.min(1.5, Math.max(0.12, this.#tilt + tilt));
    this.#nearness = Math.min(3, Math.max(0.35, this.#nearness / distance));
    this.#redraw();
  }

  #listen(): void {
    const { signal } = this.#listening;
    const canvas = this.#canvas;
    canvas.addEventListener('pointerdown', (event) => canvas.setPointerCapture(event.pointerId), { signal });
    canvas.addEventListener(
      'pointermove',
      (event) => {
        if (canvas.hasPointerCapture(event.pointerId)) this.#turn(-event.movementX * 0.006, event.movementY * 0.006);
      },
      { signal },
    );
    canvas.addEventListener(
      'wheel',
      (event) => {
        event.preventDefault();
        this.#turn(0, 0, Math.exp(event.deltaY * 0.001));
      },
      { passive: false, signal },
    );
    const keys: Readonly<Record<string, readonly [number, number, number]>> = {
      ArrowLeft: [0.12, 0, 1],
      ArrowRight: [-0.12, 0, 1],
      ArrowUp: [0, 0.08, 1],
      ArrowDown: [0, -0.08, 1],
      '+': [0, 0, 0.87],
      '=': [0, 0, 0.87],
      '-': [0, 0, 1.15],
    };
    canvas.addEventListener(
      'keydown',
      (event) => {
        const turn = keys[event.key];
        if (!turn) return;
        this.#turn(...(turn as [number, number, number]));
        event.preventDefault();
      },
      { signal },
    );
    const before = byId('landscape-before', HTMLInputElement);
    before.addEventListener(
      'change',
      () => {
        this.#original.value = Number(before.checked);
        this.#redraw();
      },
      { signal },
    );
    const resized = new ResizeObserver(() => this.#redraw());
    resized.observe(canvas);
    signal.addEventListener('abort', () => resized.disconnect());
  }

  destroy(): void {
    this.#shown = this.#ready = false;
    this.#listening.abort();
    this.#palette?.dispose();
    this.#renderer.dispose();
  }
}

function paletteTexture(): DataTexture {
  const words = paletteWords().slice(0, 256);
  const map = new DataTexture(new Uint8Array(words.buffer), 256, 1, RGBAFormat);
  map.colorSpace = SRGBColorSpace;
  map.magFilter = LinearFilter;
  map.minFilter = LinearFilter;
  map.needsUpdate = true;
  return map;
}
