// SPDX-License-Identifier: GPL-2.0

//! A plugin of QEMU: what a guest executes between two marks, by address.
//!
//! The guest marks by instructions that do nothing (`tests/bench/mark.h`): from where on it is to
//! be counted, until where, and where what was counted is a section of its own. When the guest is
//! over, there is a line in the file that `out=FILE` names for each block of instructions that was
//! executed:
//!
//! ```text
//! SECTION ADDRESS INSTRUCTIONS TIMES
//! ```
//!
//! with the number of the section from 0 on and the address in hexadecimal. A block has one way
//! through it; one that is left early, by a fault, is counted as a whole.

use anyhow::{Context, Result};
use ctor::ctor;
use qemu_plugin::{
    install::{Args, Info, Value},
    plugin::{HasCallbacks, Plugin, Register, PLUGIN},
    qemu_plugin_register_atexit_cb, PluginId, TranslationBlock,
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        Arc, Mutex, PoisonError,
    },
};

/// What the guest can say, by the instruction that says it.
const MARKS: [(&[u8], Mark); 3] = [
    (&[0x66, 0x87, 0xdb], Mark::Begin),
    (&[0x66, 0x87, 0xc9], Mark::End),
    (&[0x66, 0x87, 0xd2], Mark::Section),
];

#[derive(Clone, Copy)]
enum Mark {
    /// Count from here on.
    Begin,
    /// Count no more.
    End,
    /// What was counted is a section.
    Section,
}

/// A block of instructions with one way through it.
struct Block {
    address: u64,
    instructions: usize,
    times: AtomicU64,
}

/// What was counted of a section: by address and length, how often.
type Section = BTreeMap<(u64, usize), u64>;

#[derive(Default)]
struct Counted {
    blocks: Vec<Arc<Block>>,
    sections: Vec<Section>,
}

impl Counted {
    /// Makes a section of what was counted since the last one.
    fn section(&mut self) {
        let mut section = Section::new();
        for block in &self.blocks {
            let times = block.times.swap(0, Relaxed);
            if times > 0 {
                // The same instructions are translated again and again.
                *section
                    .entry((block.address, block.instructions))
                    .or_default() += times;
            }
        }
        self.sections.push(section);
    }

    fn write(&self, path: &Path) -> Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        for (number, section) in self.sections.iter().enumerate() {
            for ((address, instructions), times) in section {
                writeln!(out, "{number} {address:x} {instructions} {times}")?;
            }
        }
        Ok(out.flush()?)
    }
}

#[derive(Default)]
struct Instructions {
    counted: Arc<Mutex<Counted>>,
    counts: Arc<AtomicBool>,
}

impl Register for Instructions {
    fn register(&mut self, id: PluginId, args: &Args, _info: &Info) -> Result<()> {
        let path = match args.parsed.get("out") {
            Some(Value::String(path)) => PathBuf::from(path),
            _ => anyhow::bail!("say where to write: out=FILE"),
        };
        let counted = self.counted.clone();
        qemu_plugin_register_atexit_cb(id, move |_| {
            let counted = counted.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = counted.write(&path) {
                eprintln!("error: {}: {error}", path.display());
            }
        })
        .context("QEMU does not tell of its end")
    }
}

impl HasCallbacks for Instructions {
    fn on_translation_block_translate(&mut self, _: PluginId, tb: TranslationBlock) -> Result<()> {
        let block = Arc::new(Block {
            address: tb.vaddr(),
            instructions: tb.size(),
            times: AtomicU64::new(0),
        });
        for instruction in tb.instructions() {
            let data = instruction.data();
            let Some((_, mark)) = MARKS.iter().find(|(bytes, _)| *bytes == data) else {
                continue;
            };
            let (mark, counts, counted) = (*mark, self.counts.clone(), self.counted.clone());
            instruction.register_execute_callback(move |_| match mark {
                Mark::Begin => counts.store(true, Relaxed),
                Mark::End => counts.store(false, Relaxed),
                Mark::Section => counted
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .section(),
            });
        }
        let (counts, executed) = (self.counts.clone(), block.clone());
        tb.register_execute_callback(move |_| {
            if counts.load(Relaxed) {
                executed.times.fetch_add(1, Relaxed);
            }
        });
        self.counted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .blocks
            .push(block);
        Ok(())
    }
}

impl Plugin for Instructions {}

#[ctor]
fn install() {
    // It can be set once, and is: nobody else does.
    let _ = PLUGIN.set(Mutex::new(Box::new(Instructions::default())));
}
