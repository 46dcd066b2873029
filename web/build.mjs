// Bundles src/ into one folder of static files: `node build.mjs [--outdir DIR] [--watch]`.
import { context, build } from "esbuild";
import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const here = dirname(fileURLToPath(import.meta.url));
const { values: args } = parseArgs({
  options: {
    outdir: { type: "string", default: join(here, "../src/semiseg/studio/static") },
    watch: { type: "boolean", default: false },
  },
});
const outdir = resolve(args.outdir);

/** Texts of the licenses of every package that has code in the bundle. */
async function notice(metafile) {
  const folders = new Set();
  for (const input of Object.keys(metafile.inputs)) {
    const found = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (found) folders.add(found[1]);
  }
  const parts = ["The pages of semiseg studio contain the following packages.\n"];
  for (const folder of [...folders].sort()) {
    const { name, version, license } = JSON.parse(await readFile(join(here, folder, "package.json"), "utf8"));
    parts.push(`${"=".repeat(78)}\n${name} ${version} (${license})\n\n${await licenseText(folder, name)}\n`);
  }
  return parts.join("\n");
}

async function licenseText(folder, name) {
  const own = join(here, "licenses", `${name.replace("/", "-").replace("@", "")}.txt`);
  const files = await readdir(join(here, folder));
  const file = files.find((f) => /^(licen[cs]e|copying)/i.test(f));
  try {
    return await readFile(file ? join(here, folder, file) : own, "utf8");
  } catch {
    throw new Error(`no license text of ${name}: put it into ${relative(here, own)}`);
  }
}

const files = {
  name: "static files",
  setup(bundler) {
    bundler.onEnd(async ({ errors, metafile }) => {
      if (errors.length) return;
      for (const name of ["index.html", "favicon.svg"]) {
        await cp(join(here, "src", name), join(outdir, name));
      }
      await writeFile(join(outdir, "NOTICE.txt"), await notice(metafile));
    });
  },
};

/** NiiVue could read Zarr, which this server never sends: without its codecs the wheel is a third smaller. */
const noZarr = {
  name: "no codecs of Zarr",
  setup(bundler) {
    bundler.onResolve({ filter: /^numcodecs\// }, ({ path }) => ({ path, namespace: "none" }));
    bundler.onLoad({ filter: /./, namespace: "none" }, () => ({ contents: "export default null" }));
  },
};

const options = {
  absWorkingDir: here,
  entryPoints: { app: "src/main.ts" },
  bundle: true,
  splitting: true, // the viewer is large and only loaded where a case is opened
  format: "esm",
  target: "es2022",
  outdir,
  chunkNames: "[name]-[hash]",
  minify: !args.watch,
  sourcemap: args.watch ? "linked" : false,
  legalComments: "none", // NOTICE.txt has them
  metafile: true,
  logLevel: "warning",
  plugins: [noZarr, files],
};

await rm(outdir, { recursive: true, force: true });
await mkdir(outdir, { recursive: true });
if (args.watch) {
  await (await context(options)).watch();
  console.log(`watching ${relative(process.cwd(), here)}/src, writing ${outdir}; Ctrl-C ends it`);
} else {
  await build(options);
}
