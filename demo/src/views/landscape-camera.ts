import { mat4, vec3 } from 'wgpu-matrix';

/** From where a landscape is looked at, in radians, and how near: 1 fits all of it. */
export interface Viewpoint {
  readonly angle: number;
  readonly tilt: number;
  readonly nearness: number;
}

/** A square of columns around the origin, and how high they are. */
export interface Extent {
  readonly side: number;
  readonly height: number;
}

/** Of the frame: a little stays free around it. */
const USED = 0.95;
const FIELD = (38 * Math.PI) / 180;
/** Points of the circle that the corners turn on: the distance does not change while one turns. */
const AROUND = 24;

/**
 * Where the camera is and what it sees, as column-major matrices: the landscape as large as its frame has room for, whatever way it is turned, in the middle.
 * @param aspect width over height of the frame
 */
export function cameraFor({ angle, tilt, nearness }: Viewpoint, extent: Extent, aspect: number) {
  const target = [0, extent.height / 4, 0];
  const cameraAt = (far: number) => {
    const flat = far * Math.cos(tilt);
    const eye = [flat * Math.sin(angle), far * Math.sin(tilt) + target[1]!, flat * Math.cos(angle)];
    return mat4.cameraAim(eye, target, [0, 1, 0]);
  };
  const lens = mat4.perspective(FIELD, aspect, 0.1 * extent.side, 12 * extent.side);
  const circle = around(extent);
  const seenFrom = (far: number) => {
    const toScreen = mat4.multiply(lens, mat4.inverse(cameraAt(far)));
    const [low, high, wide] = boundsOf(circle.map((point) => vec3.transformMat4(point, toScreen)));
    return { middle: (low + high) / 2, high: (high - low) / 2, wide };
  };
  // Nearer than this a corner is beside the camera.
  let [near, far] = [1.05 * Math.hypot(extent.side / Math.SQRT2, extent.height), 10 * extent.side];
  for (let i = 0; i < 24; i++) {
    const between = (near + far) / 2;
    const { high, wide } = seenFrom(between);
    if (high > USED || wide > USED) near = between;
    else far = between;
  }
  const projection = mat4.clone(lens);
  // Near parts reach further down than far ones up: the lens is shifted until both leave as much room.
  projection[9]! += seenFrom(far).middle;
  return { camera: cameraAt(far / nearness), projection };
}

function around({ side, height }: Extent): Float32Array[] {
  return Array.from({ length: 2 * AROUND }, (_, i) => {
    const turn = (2 * Math.PI * (i >> 1)) / AROUND;
    const radius = side / Math.SQRT2;
    return vec3.create(radius * Math.sin(turn), i % 2 === 0 ? 0 : height, radius * Math.cos(turn));
  });
}

function boundsOf(points: readonly Float32Array[]): [low: number, high: number, wide: number] {
  const ys = points.map(([, y]) => y!);
  return [Math.min(...ys), Math.max(...ys), Math.max(...points.map(([x]) => Math.abs(x!)))];
}

/** Where a point of the landscape is on a frame of `width` × `height` pixels; undefined: behind the camera. */
export function onFrame(
  point: readonly [number, number, number],
  { camera, projection }: ReturnType<typeof cameraFor>,
  { width, height }: { readonly width: number; readonly height: number },
): [x: number, y: number] | undefined {
  const [x, y, z] = vec3.transformMat4(point, mat4.multiply(projection, mat4.inverse(camera)));
  return z! < 0 || z! > 1 ? undefined : [((x! + 1) / 2) * width, ((1 - y!) / 2) * height];
}
