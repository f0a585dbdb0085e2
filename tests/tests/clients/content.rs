//! What the clients push. Costly content is made once and kept in the cache directory.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use registry_tests::harness::{cache_dir, is_root, not_run, tool};
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::layout::{INDEX, Layout, read_json, spell, text};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The size of [`huge`]'s layer in MiB: its bytes are past what a signed 32 bit number counts.
const HUGE: u64 = 2048;

/// A directory that goes with the test.
pub(crate) fn scratch() -> TempDir {
    TempDir::with_prefix("client-").expect("a temporary directory")
}

/// An index over three platforms.
pub(crate) fn platforms(directory: &Path) -> Layout {
    let layout = Layout::create(directory);
    let images = ["amd64", "arm64", "riscv64"].map(|architecture| {
        let layer = layout.add(
            LAYER,
            format!("a layer for {architecture}\n")
                .repeat(999)
                .as_bytes(),
        );
        layout.image(architecture, &[layer])
    });
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": images});
    layout.tag("latest", layout.add(INDEX, index.to_string().as_bytes()));
    layout
}

/// An image with a layer of no bytes beside one of a few.
pub(crate) fn empty_layer(directory: &Path) -> Layout {
    let layout = Layout::create(directory);
    let layers = [layout.add(LAYER, b""), layout.add(LAYER, b"not empty")];
    layout.tag("latest", layout.image("amd64", &layers));
    layout
}

/// An index over one image that a container engine can unpack: a layer of no bytes, and an archive without entries.
pub(crate) fn empty_archives(directory: &Path) -> Layout {
    let layout = Layout::create(directory);
    let layers = [layout.add(LAYER, b""), layout.add(LAYER, &[0; 1024])];
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [layout.image("amd64", &layers)]});
    layout.tag("latest", layout.add(INDEX, index.to_string().as_bytes()));
    layout
}

/// A small image that everybody can unpack: its one layer is an archive without entries.
pub(crate) fn small(directory: &Path) -> Layout {
    let layout = Layout::create(directory);
    let layers = [layout.add(LAYER, &[0; 1024])];
    layout.tag("latest", layout.image("amd64", &layers));
    layout
}

/// An image with one layer of 2 GiB that nothing can compress.
pub(crate) fn huge() -> Layout {
    Layout::open(&kept("huge", |directory| {
        let layout = Layout::create(directory);
        let file = directory.join("layer");
        let mut output = BufWriter::new(File::create(&file).expect("the layer's file"));
        let mut hasher = Sha256::new();
        let mut block = noise(1 << 20);
        for number in 0..HUGE {
            block[..8].copy_from_slice(&number.to_le_bytes());
            hasher.update(&block);
            output.write_all(&block).expect("the layer written");
        }
        output.flush().expect("the layer written");
        let layer = layout.add_file(LAYER, &file, &spell(&hasher.finalize()));
        layout.tag("latest", layout.image("amd64", &[layer]));
    }))
}

/// A Debian root file system: as a plain archive, and as the only layer of an image.
#[derive(Debug)]
pub(crate) struct RootFileSystem {
    pub(crate) archive: PathBuf,
    pub(crate) image: Layout,
    /// Holds both.
    pub(crate) directory: PathBuf,
}

impl RootFileSystem {
    /// The image for a container engine that runs in [`Self::directory`]: engines name what they take in after its
    /// path, and not every path is a name.
    pub(crate) const RELATIVE: &'static str = "oci:image:latest";
}

/// Makes the root file system with debootstrap and the image with umoci, or says why that can't be done here.
pub(crate) fn root_file_system() -> Option<RootFileSystem> {
    let (debootstrap, umoci) = (tool("debootstrap")?, tool("umoci")?);
    if !is_root() {
        not_run("only root can make a root file system with debootstrap");
        return None;
    }
    let directory = kept("rootfs", |directory| {
        let (system, archive) = (directory.join("system"), directory.join("rootfs.tar"));
        debootstrap.run([
            "--variant=minbase".as_ref(),
            "stable".as_ref(),
            system.as_os_str(),
        ]);
        let tar = tool("tar")
            .expect("tar")
            .with("--create")
            .with("--sort=name")
            .with("--numeric-owner");
        // Neither belongs to an image: what was downloaded, and devices that only root can unpack.
        let leave_out = [
            "--exclude=./var/cache/apt/archives/*.deb",
            "--exclude=./var/lib/apt/lists/*_*",
            "--exclude=./dev/*",
        ];
        tar.run(leave_out.into_iter().chain([
            "--file",
            path(&archive),
            "--directory",
            path(&system),
            ".",
        ]));
        fs::remove_dir_all(&system).expect("the unpacked system removed");
        let image = directory.join("image");
        let tagged = format!("{}:latest", path(&image));
        umoci.run(["init", "--layout", path(&image)]);
        umoci.run(["new", "--image", &tagged]);
        umoci.run(["raw", "add-layer", "--image", &tagged, path(&archive)]);
        umoci.run(["config", "--image", &tagged, "--config.cmd", "/bin/bash"]);
        umoci.run(["gc", "--layout", path(&image)]);
    });
    Some(RootFileSystem {
        archive: directory.join("rootfs.tar"),
        image: Layout::open(&directory.join("image")),
        directory,
    })
}

/// Expects the only layer of an image that a client saved as a Docker archive to be exactly this archive.
pub(crate) fn assert_saved_layer(saved: &Path, archive: &Path) {
    let unpacked = scratch();
    tool("tar").expect("tar").run([
        "--extract",
        "--file",
        path(saved),
        "--directory",
        path(unpacked.path()),
    ]);
    let manifest = read_json(&unpacked.path().join("manifest.json"));
    let layers = manifest[0]["Layers"].as_array().expect("a list of layers");
    assert_eq!(layers.len(), 1, "{manifest}");
    super::layout::assert_same_file(archive, &unpacked.path().join(text(&layers[0])));
}

/// A path as an argument.
pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

/// A directory of the cache, made on first use. Tests that need it at the same time wait for the one that makes it.
fn kept(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let cache = cache_dir().join("content");
    fs::create_dir_all(&cache).expect("the cache directory");
    let lock = File::create(cache.join(format!("{name}.lock"))).expect("a lock file");
    lock.lock().expect("the lock");
    let directory = cache.join(name);
    if !directory.is_dir() {
        let unfinished = cache.join(format!("{name}.unfinished"));
        if unfinished.is_dir() {
            fs::remove_dir_all(&unfinished).expect("the remains of an earlier attempt removed");
        }
        fs::create_dir(&unfinished).expect("a directory in the cache");
        make(&unfinished);
        fs::rename(&unfinished, &directory).expect("the finished content in its place");
    }
    directory
}

/// The same bytes every time, of a kind that doesn't compress (xorshift64).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(length)
    .collect()
}
