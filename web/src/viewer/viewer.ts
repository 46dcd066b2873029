/** The scan on the screen: NiiVue with the layouts, layers and mouse of a reading room. */

import { cmapper, DRAG_MODE, MULTIPLANAR_TYPE, Niivue, NVImage, SHOW_RENDER, SLICE_TYPE } from "@niivue/niivue";
import { edges } from "../drawing/edges.ts";
import { others, type Axis } from "../drawing/plane.ts";
import type { Box, Triple } from "../drawing/volume.ts";
import type { Order } from "../drawing/nifti.ts";
import type { ClassColors } from "./colors.ts";

export type Layout = "all" | "planes" | "axial" | "coronal" | "sagittal" | "render";
export type LayerName = "label" | "prediction" | "difference" | "uncertainty";

/** How an image is shown: with its colors, as a picture from left to right, within a window of gray values. */
export interface Shown {
  rgb: boolean;
  picture: boolean;
  window: { low: number; high: number };
}

export interface Place {
  voxel: Triple;
  axis: Axis;
}

const axes: Record<number, Axis> = { [SLICE_TYPE.AXIAL]: 2, [SLICE_TYPE.CORONAL]: 1, [SLICE_TYPE.SAGITTAL]: 0 };
const single: Partial<Record<Layout, SLICE_TYPE>> = {
  axial: SLICE_TYPE.AXIAL,
  coronal: SLICE_TYPE.CORONAL,
  sagittal: SLICE_TYPE.SAGITTAL,
  render: SLICE_TYPE.RENDER,
};

export class Viewer {
  readonly nv: Niivue;
  readonly canvas: HTMLCanvasElement;
  private readonly layers = new Map<LayerName, NVImage>();
  /** Label maps of layers as they came, where outlines are shown in their place. */
  private readonly areas = new Map<LayerName, NVImage["img"]>();
  private outlined = false;
  private picture = false;
  private frame = 0;
  /** Drawn by a processor, not a graphics card: 3D is slow then. */
  readonly slow: boolean;
  onmove: (() => void) | null = null;

  private constructor(nv: Niivue, canvas: HTMLCanvasElement) {
    this.nv = nv;
    this.canvas = canvas;
    const info = nv.gl.getExtension("WEBGL_debug_renderer_info");
    const name = info ? String(nv.gl.getParameter(info.UNMASKED_RENDERER_WEBGL)) : "";
    this.slow = /swiftshader|llvmpipe|software|basic render/i.test(name);
    nv.onLocationChange = () => this.onmove?.();
    const smoothed = nv.updateInterpolation.bind(nv);
    nv.updateInterpolation = (layer, linear) => (layer === 0 ? smoothed(layer, linear) : this.sharp());
    canvas.parentElement!.addEventListener("wheel", (event) => this.wheel(event), { capture: true, passive: false });
  }

  /** Layers show voxels as they are: a class has no value between two others, and an outline is one voxel wide. */
  private sharp(): void {
    const { gl, opts } = this.nv;
    const kind = opts.is2DSliceShader ? gl.TEXTURE_2D : gl.TEXTURE_3D;
    gl.activeTexture(gl.TEXTURE2);
    gl.texParameteri(kind, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(kind, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  }

  /** With Ctrl the wheel zooms, as everywhere; without, NiiVue changes the slice. */
  private wheel(event: WheelEvent): void {
    if (!event.ctrlKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15);
  }

  static async open(canvas: HTMLCanvasElement): Promise<Viewer> {
    if (!document.createElement("canvas").getContext("webgl2")) {
      throw new Error("This browser has no WebGL 2, which the viewer needs. Switch on hardware acceleration, or use another browser.");
    }
    const nv = new Niivue({
      logLevel: "error",
      dragAndDropEnabled: false,
      isRadiologicalConvention: true,
      sagittalNoseLeft: true,
      isNearestInterpolation: false,
      isForceMouseClickToVoxelCenters: true,
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.36, 0.71, 0.79, 0.6],
      crosshairWidthUnit: "mm",
      fontMinPx: 12,
      multiplanarPadPixels: 4,
      loadingText: "",
      clipPlaneHotKey: "",
      cycleClipPlaneHotKey: "",
      viewModeHotKey: "",
      mouseEventConfig: {
        leftButton: { primary: DRAG_MODE.crosshair, withShift: DRAG_MODE.measurement, withCtrl: DRAG_MODE.crosshair },
        rightButton: DRAG_MODE.windowing,
        centerButton: DRAG_MODE.pan,
      },
    });
    await nv.attachToCanvas(canvas);
    return new Viewer(nv, canvas);
  }

  close(): void {
    this.onmove = null;
    cancelAnimationFrame(this.frame);
    this.nv.cleanup();
    this.nv.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }

  /** Shows a scan in the place of the one before; layers stay. A picture has no left and right of a patient. */
  async show(file: ArrayBuffer, { rgb, picture, window }: Shown): Promise<void> {
    const image = await NVImage.loadFromUrl({ url: file, name: "image.nii", colormap: "gray" });
    if (!rgb) [image.cal_min, image.cal_max] = [window.low, window.high];
    const { nv } = this;
    nv.opts.isRadiologicalConvention = !picture;
    nv.opts.isOrientationTextVisible = !picture;
    this.picture = picture;
    if (nv.volumes.length) {
      nv.volumes[0] = image;
      nv.setVolume(image, 0);
    } else {
      nv.addVolume(image);
    }
    const extent = Math.max(...this.dims.map((n, i) => n * (this.spacing[i] as number)));
    nv.opts.crosshairGap = extent * 0.02;
    nv.setCrosshairWidth(extent * 0.003);
  }

  private get image(): NVImage {
    return this.nv.volumes[0] as NVImage;
  }

  /** A picture of one slice. */
  get flat(): boolean {
    return this.dims[2] === 1;
  }

  get dims(): Triple {
    return this.image.dimsRAS!.slice(1, 4) as Triple;
  }

  get spacing(): Triple {
    return this.image.pixDimsRAS!.slice(1, 4) as Triple;
  }

  /** How the voxels on the screen lie in the file. */
  get order(): Order {
    const [a = 0, b = 0, c = 0] = this.image.img2RASstart!;
    return { dims: this.dims, start: a + b + c, step: this.image.img2RASstep!.slice(0, 3) as Triple };
  }

  /** Gray value of a voxel, in the units of the file; of colors their brightness (ITU-R BT.601). */
  grayAt(): (x: number, y: number, z: number) => number {
    const { image, order } = this;
    const { datatypeCode, scl_slope, scl_inter } = image.hdr!;
    const slope = scl_slope || 1;
    const values = image.img!;
    if (datatypeCode === 128 || datatypeCode === 2304) {
      const colors = datatypeCode === 128 ? 3 : 4;
      return (x, y, z) => {
        const at = colors * (order.start + x * order.step[0] + y * order.step[1] + z * order.step[2]);
        return 0.299 * (values[at] as number) + 0.587 * (values[at + 1] as number) + 0.114 * (values[at + 2] as number);
      };
    }
    return (x, y, z) => (values[order.start + x * order.step[0] + y * order.step[1] + z * order.step[2]] as number) * slope + scl_inter;
  }

  get window(): { low: number; high: number } {
    return { low: this.image.cal_min!, high: this.image.cal_max! };
  }

  set window({ low, high }: { low: number; high: number }) {
    [this.image.cal_min, this.image.cal_max] = [low, high];
    this.nv.updateGLVolume();
  }

  /** Another viewer shows the same place of its scan. */
  follow(other: Viewer): void {
    other.nv.broadcastTo([this.nv], { "2d": true, "3d": true });
  }

  layout(name: Layout): void {
    const { nv } = this;
    const type = single[name];
    nv.opts.multiplanarShowRender = name === "all" ? SHOW_RENDER.ALWAYS : SHOW_RENDER.NEVER;
    nv.opts.multiplanarLayout = name === "all" ? MULTIPLANAR_TYPE.GRID : MULTIPLANAR_TYPE.AUTO;
    nv.setSliceType(type ?? SLICE_TYPE.MULTIPLANAR);
  }

  /** A layer over the scan; its colors are of class numbers, or a color map from `low` to `high`. */
  async setLayer(name: LayerName, file: ArrayBuffer, colors: ClassColors | { map: string; low: number; high: number }, opacity: number): Promise<void> {
    this.removeLayer(name);
    const layer = await NVImage.loadFromUrl({ url: file, name: `${name}.nii`, opacity });
    if ("map" in colors) {
      layer.colormap = colors.map;
      [layer.cal_min, layer.cal_max] = [colors.low, colors.high];
    } else {
      layer.setColormapLabel(table(colors));
      this.areas.set(name, layer.img);
    }
    this.layers.set(name, layer);
    this.outline(name);
    this.nv.addVolume(layer);
  }

  recolor(name: LayerName, colors: ClassColors): void {
    const layer = this.layers.get(name);
    if (!layer) return;
    layer.setColormapLabel(table(colors));
    this.nv.updateGLVolume();
  }

  removeLayer(name: LayerName): void {
    const layer = this.layers.get(name);
    if (!layer) return;
    this.layers.delete(name);
    this.areas.delete(name);
    this.nv.removeVolume(layer);
  }

  setLayerOpacity(name: LayerName, opacity: number): void {
    const layer = this.layers.get(name);
    if (layer) this.nv.setOpacity(this.nv.volumes.indexOf(layer), opacity);
  }

  hasLayer(name: LayerName): boolean {
    return this.layers.has(name);
  }

  /** Shows a label map that is drawn on; later changes of `data` by `refresh`. */
  startDrawing(data: Uint8Array): void {
    const { nv } = this;
    nv.createEmptyDrawing();
    nv.drawClearAllUndoBitmaps();
    nv.clickToSegmentGrowingBitmap = null;
    nv.drawBitmap = data;
    nv.refreshDrawing(true);
  }

  /** Sends the changed part of the drawing to the graphics card, and nothing else. */
  refresh(box: Box): void {
    const { nv } = this;
    if (nv.opts.is2DSliceShader || !nv.drawTexture || !nv.drawBitmap) {
      nv.refreshDrawing(true);
      return;
    }
    const { gl } = nv;
    const [nx, ny] = this.dims;
    const { low, high } = box;
    gl.activeTexture(TEXTURE_OF_DRAWING);
    gl.bindTexture(gl.TEXTURE_3D, nv.drawTexture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.pixelStorei(gl.UNPACK_ROW_LENGTH, nx);
    gl.pixelStorei(gl.UNPACK_IMAGE_HEIGHT, ny);
    gl.pixelStorei(gl.UNPACK_SKIP_PIXELS, low[0]);
    gl.pixelStorei(gl.UNPACK_SKIP_ROWS, low[1]);
    gl.pixelStorei(gl.UNPACK_SKIP_IMAGES, low[2]);
    const size = high.map((h, i) => h - (low[i] as number) + 1) as Triple;
    gl.texSubImage3D(gl.TEXTURE_3D, 0, ...low, ...size, gl.RED, gl.UNSIGNED_BYTE, nv.drawBitmap);
    for (const kept of [gl.UNPACK_ROW_LENGTH, gl.UNPACK_IMAGE_HEIGHT, gl.UNPACK_SKIP_PIXELS, gl.UNPACK_SKIP_ROWS, gl.UNPACK_SKIP_IMAGES]) {
      gl.pixelStorei(kept, 0);
    }
    this.draw();
  }

  /** Draws at the next frame, once, however often it was asked for since the last one. */
  private draw(): void {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.nv.drawScene();
    });
  }

  drawingColors(colors: ClassColors): void {
    this.nv.drawLut = cmapper.makeDrawLut(table(colors) as unknown as string);
    this.nv.refreshColormaps();
    this.nv.drawScene();
  }

  /** Areas of the drawing and their edge; 0 hides them. */
  drawingOpacity(area: number, edge: number): void {
    this.nv.drawRimOpacity = edge;
    this.nv.setDrawOpacity(area);
  }

  outlines(on: boolean): void {
    this.outlined = on;
    for (const name of this.areas.keys()) this.outline(name);
    if (this.areas.size) this.nv.updateGLVolume();
  }

  private outline(name: LayerName): void {
    const layer = this.layers.get(name);
    const area = this.areas.get(name);
    if (!layer || !area) return;
    const dims = layer.hdr!.dims.slice(1, 4).map((n) => Math.max(1, n)) as Triple;
    layer.img = this.outlined ? (edges(area as Uint8Array, dims) as typeof area) : area;
  }

  interpolated(on: boolean): void {
    this.nv.setInterpolation(!on);
  }

  get crosshair(): Triple {
    return Array.from(this.nv.frac2vox(this.nv.scene.crosshairPos)).map(Math.round) as Triple;
  }

  set crosshair(voxel: Triple) {
    this.nv.scene.crosshairPos = this.nv.vox2frac(voxel);
    this.draw();
    this.onmove?.();
  }

  /** The crosshair as a person counts: from 1; column and row of a picture from its upper left corner. */
  get counted(): number[] {
    const [x, y, z] = this.crosshair;
    if (!this.flat) return [x + 1, y + 1, z + 1];
    return [x + 1, this.picture ? this.dims[1] - y : y + 1];
  }

  /** The crosshair in mm, which is the same place in a preview, a part and the whole scan. */
  get world(): Triple {
    return Array.from(this.nv.frac2mm(this.nv.scene.crosshairPos, 0, true)).slice(0, 3) as Triple;
  }

  set world(place: Triple) {
    const share = Array.from(this.nv.mm2frac(place, 0, true)).map((s) => Math.min(1, Math.max(0, s)));
    this.nv.scene.crosshairPos = share as Triple;
    this.draw();
    this.onmove?.();
  }

  step(axis: Axis, by: number): void {
    const place = this.crosshair;
    place[axis] = Math.min((this.dims[axis] as number) - 1, Math.max(0, place[axis] + by));
    this.crosshair = place;
  }

  /** Moves the crosshair within a plane, to the right and up on the screen. */
  nudge(axis: Axis, right: number, up: number): void {
    this.step(others[axis][0], this.picture ? right : -right);
    this.step(others[axis][1], up);
  }

  zoom(factor: number): void {
    const [x = 0, y = 0, z = 0, zoom = 1] = this.nv.scene.pan2Dxyzmm;
    const next = factor === 0 ? [0, 0, 0, 1] : [x, y, z, Math.min(20, Math.max(0.2, zoom * factor))];
    this.nv.setPan2Dxyzmm(next as [number, number, number, number]);
  }

  /** Voxel below the mouse and the plane it is in; `null` outside the planes. */
  at(event: MouseEvent): Place | null {
    const { nv, canvas } = this;
    const scale = nv.uiData.dpr ?? 1;
    const bounds = canvas.getBoundingClientRect();
    const [x, y] = [(event.clientX - bounds.left) * scale, (event.clientY - bounds.top) * scale];
    const tile = nv.tileIndex(x, y);
    const axis = tile < 0 ? undefined : axes[nv.screenSlices[tile]!.axCorSag];
    if (axis === undefined) return null;
    const share = nv.screenXY2TextureFrac(x, y, tile, false);
    if (share[0] < 0 || share[1] < 0 || share[2] < 0) return null;
    const voxel = Array.from(nv.frac2vox(share)).map(Math.round) as Triple;
    return voxel.every((v, i) => v >= 0 && v < (this.dims[i] as number)) ? { voxel, axis } : null;
  }
}

/** Texture unit 7, where NiiVue keeps the drawing. */
const TEXTURE_OF_DRAWING = WebGL2RenderingContext.TEXTURE7;

function table(colors: ClassColors): { R: number[]; G: number[]; B: number[]; A: number[]; I: number[]; labels: string[] } {
  return { R: colors.r, G: colors.g, B: colors.b, A: colors.a, I: colors.r.map((_, i) => i), labels: colors.names };
}
