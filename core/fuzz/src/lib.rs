//! What the fuzz targets share: running one of them and measuring its memory.

pub mod meter;

use seedlog_core::decoders::Target;

/// Run the target of this name.
pub fn run(targets: &[Target], name: &str, input: &[u8]) {
    let target = targets.iter().find(|target| target.name == name);
    meter::run(target.expect("a target of this name"), input);
}
