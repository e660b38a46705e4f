// The grids of up to 256 points in one or two dimensions: 4 KB of points, always loaded.
// The larger ones are in large.ts. The maker in maker/ computed them.

import errors from './data/mse.json';
import p1n4Bytes from './data/p1n4.f32';
import p1n8Bytes from './data/p1n8.f32';
import p1n16Bytes from './data/p1n16.f32';
import p1n32Bytes from './data/p1n32.f32';
import p1n64Bytes from './data/p1n64.f32';
import p1n256Bytes from './data/p1n256.f32';
import p2n16Bytes from './data/p2n16.f32';
import p2n64Bytes from './data/p2n64.f32';
import p2n256Bytes from './data/p2n256.f32';
import { grid, type PointGrid } from './grid.ts';

/** 4 points on a line: 2 bits a weight. */
export const p1n4: PointGrid = /* @__PURE__ */ grid('p1n4', p1n4Bytes, errors);
/** 8 points on a line: 3 bits a weight. */
export const p1n8: PointGrid = /* @__PURE__ */ grid('p1n8', p1n8Bytes, errors);
/** 16 points on a line: 4 bits a weight. */
export const p1n16: PointGrid = /* @__PURE__ */ grid('p1n16', p1n16Bytes, errors);
/** 32 points on a line: 5 bits a weight. */
export const p1n32: PointGrid = /* @__PURE__ */ grid('p1n32', p1n32Bytes, errors);
/** 64 points on a line: 6 bits a weight. */
export const p1n64: PointGrid = /* @__PURE__ */ grid('p1n64', p1n64Bytes, errors);
/** 256 points on a line: 8 bits a weight. */
export const p1n256: PointGrid = /* @__PURE__ */ grid('p1n256', p1n256Bytes, errors);
/** 16 points in 2 dimensions: 2 bits a weight. */
export const p2n16: PointGrid = /* @__PURE__ */ grid('p2n16', p2n16Bytes, errors);
/** 64 points in 2 dimensions: 3 bits a weight. */
export const p2n64: PointGrid = /* @__PURE__ */ grid('p2n64', p2n64Bytes, errors);
/** 256 points in 2 dimensions: 4 bits a weight. */
export const p2n256: PointGrid = /* @__PURE__ */ grid('p2n256', p2n256Bytes, errors);

/** Grids of up to 256 points in one or two dimensions, by p, then n. */
export const smallGrids: readonly PointGrid[] = [p1n4, p1n8, p1n16, p1n32, p1n64, p1n256, p2n16, p2n64, p2n256];
