//! Inputs of fuzz targets on disk: what was found (`fuzz/corpus`), what once broke something
//! (`fuzz/regressions`), and the seeds, which the targets make themselves.

use std::io;
use std::path::{Path, PathBuf};

use crate::targets::Target;

/// An input and what to call it.
#[derive(Debug)]
pub struct Input {
    /// Its file, or the number of the seed.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The folder of this package.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// Seeds, corpus and regressions of a target, in a fixed order.
///
/// # Errors
/// A folder or a file cannot be read.
pub fn inputs(target: &Target) -> io::Result<Vec<Input>> {
    let seeds = (target.seeds)().into_iter().enumerate();
    let mut all: Vec<Input> =
        seeds.map(|(number, bytes)| Input { name: format!("seed {number}"), bytes }).collect();
    for kind in ["corpus", "regressions"] {
        all.extend(files(&folder().join(kind).join(target.name))?);
    }
    Ok(all)
}

fn files(folder: &Path) -> io::Result<Vec<Input>> {
    let mut all = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(all),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        all.push(Input { name: path.display().to_string(), bytes: std::fs::read(path)? });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// Feeds a target with everything that is kept for it; how many inputs that were.
///
/// # Errors
/// A folder or a file cannot be read.
///
/// # Panics
/// Something does not hold; the input is named before.
pub fn replay(target: &Target) -> io::Result<usize> {
    let inputs = inputs(target)?;
    for input in &inputs {
        feed(target, &input.name, &input.bytes);
    }
    Ok(inputs.len())
}

/// Feeds a target with one input.
///
/// # Panics
/// Something does not hold; the input is named before.
pub fn feed(target: &Target, name: &str, bytes: &[u8]) {
    /// Speaks if it is dropped by a panic.
    struct Witness<'a>(&'a str, &'a str);

    impl Drop for Witness<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("target {}, input {}", self.0, self.1);
            }
        }
    }

    let _witness = Witness(target.name, name);
    (target.run)(bytes);
}

/// Writes the seeds of a target into `folder`; how many.
///
/// # Errors
/// They cannot be written.
pub fn write_seeds(target: &Target, folder: &Path) -> io::Result<usize> {
    std::fs::create_dir_all(folder)?;
    let seeds = (target.seeds)();
    for (number, bytes) in seeds.iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number:02}")), bytes)?;
    }
    Ok(seeds.len())
}
