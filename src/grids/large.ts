// The grids that are too large to load unasked: 146 KB of points. The maker in maker/ computed them.

import errors from './data/mse.json';
import p2n1024Bytes from './data/p2n1024.f32';
import p3n512Bytes from './data/p3n512.f32';
import p3n4096Bytes from './data/p3n4096.f32';
import p4n256Bytes from './data/p4n256.f32';
import p4n1024Bytes from './data/p4n1024.f32';
import p4n4096Bytes from './data/p4n4096.f32';
import { grid, type PointGrid } from './grid.ts';

/** 1024 points in 2 dimensions: 5 bits a weight. */
export const p2n1024: PointGrid = /* @__PURE__ */ grid('p2n1024', p2n1024Bytes, errors);
/** 512 points in 3 dimensions: 3 bits a weight. */
export const p3n512: PointGrid = /* @__PURE__ */ grid('p3n512', p3n512Bytes, errors);
/** 4096 points in 3 dimensions: 4 bits a weight. */
export const p3n4096: PointGrid = /* @__PURE__ */ grid('p3n4096', p3n4096Bytes, errors);
/** 256 points in 4 dimensions: 2 bits a weight. */
export const p4n256: PointGrid = /* @__PURE__ */ grid('p4n256', p4n256Bytes, errors);
/** 1024 points in 4 dimensions: 2.5 bits a weight. */
export const p4n1024: PointGrid = /* @__PURE__ */ grid('p4n1024', p4n1024Bytes, errors);
/** 4096 points in 4 dimensions: 3 bits a weight. */
export const p4n4096: PointGrid = /* @__PURE__ */ grid('p4n4096', p4n4096Bytes, errors);

/** The larger grids, by p, then n. */
export const largeGrids: readonly PointGrid[] = [p2n1024, p3n512, p3n4096, p4n256, p4n1024, p4n4096];
