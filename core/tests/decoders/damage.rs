//! Inputs for decoders, for the tests of core and net alike.

#![allow(clippy::disallowed_methods, reason = "a test reads the kept corpus")]

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use seedlog_core::decoders::Target;

use super::meter;

/// Cases for each target.
const CASES: u32 = 400;

/// The same cases in every run, so that one which fails can be looked at.
fn runner() -> TestRunner {
    TestRunner::new(Config {
        cases: CASES,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x5eed),
        ..Config::default()
    })
}

/// Every target over bytes of any kind.
pub fn random(targets: &[Target]) {
    for target in targets {
        let input = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            // Small numbers are lengths and counts that fit more often.
            proptest::collection::vec(0u8..8, 0..300),
        ];
        let ran = runner().run(&input, |input| {
            meter::run(target, &input);
            Ok(())
        });
        ran.unwrap_or_else(|error| panic!("{}: {error}", target.name));
    }
}

/// The inputs that the fuzzers keep for a target: `.ci/fuzz/corpus`.
fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.ci/fuzz/corpus");
    let mut files: Vec<PathBuf> = fs::read_dir(folder.join(target.name))
        .expect("the target's corpus")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(files.len() >= 10, "{} has a corpus", target.name);
    let read = files.iter().map(|file| fs::read(file).expect("an input"));
    read.collect()
}

/// One piece of damage.
#[derive(Clone, Debug)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    /// A number of four bytes, as lengths are.
    Length(prop::sample::Index, u32),
    /// Bytes from here on stand there once more.
    Splice(prop::sample::Index, prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    use prop::sample::Index;
    let lengths = prop_oneof![
        Just(u32::MAX),
        Just(i32::MAX as u32),
        0u32..300,
        any::<u32>()
    ];
    prop_oneof![
        (any::<Index>(), 1u8..).prop_map(|(at, with)| Damage::Flip(at, with)),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), lengths).prop_map(|(at, length)| Damage::Length(at, length)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Splice(from, to)),
    ]
}

fn damaged(input: &[u8], damage: &[Damage]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for one in damage {
        if bytes.is_empty() {
            break;
        }
        match one {
            Damage::Flip(at, with) => *at.get_mut(&mut bytes) ^= with,
            Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Damage::Length(at, length) => {
                let at = at.index(bytes.len());
                let there = bytes[at..].iter_mut().zip(length.to_be_bytes());
                there.for_each(|(byte, with)| *byte = with);
            }
            Damage::Splice(from, to) => {
                let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
                let piece = bytes[from..].to_vec();
                bytes.splice(to.., piece);
            }
        }
    }
    bytes
}

/// Every target over its kept inputs, as they are and damaged.
pub fn kept(targets: &[Target]) {
    for target in targets {
        let inputs = inputs(target);
        inputs.iter().for_each(|input| meter::run(target, input));
        let any_input = proptest::sample::select(inputs);
        let case = (any_input, proptest::collection::vec(damage(), 1..4));
        let ran = runner().run(&case, |(input, damage)| {
            meter::run(target, &damaged(&input, &damage));
            Ok(())
        });
        ran.unwrap_or_else(|error| panic!("{}: {error}", target.name));
    }
}
