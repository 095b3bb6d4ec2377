//! Stage 1: compressed captures, told by their first octets and never by their name.
//!
//! In: any [`Read`]. Out: another that gives the same octets, or what they decompress to. Members,
//! frames and streams in a row (rotated files joined by `cat`) are one stream. Knows no capture format.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;
use lz4_flex::frame::FrameDecoder;
use lzma_rust2::XzReader;

/// Gives its source as it is, or decompressed. Touches it only when read for the first time.
pub(super) struct Decompressed(State);

enum State {
    Unread(Box<dyn Read>),
    Reading(Box<dyn Read>),
    /// Left by a source that failed before it showed what it is.
    Failed,
}

impl Decompressed {
    pub(super) fn new(source: Box<dyn Read>) -> Self {
        Self(State::Unread(source))
    }
}

impl Read for Decompressed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let State::Reading(reader) = &mut self.0 {
            return reader.read(into);
        }
        let State::Unread(source) = std::mem::replace(&mut self.0, State::Failed) else {
            return Ok(0);
        };
        let mut reader = decoder(source)?;
        let octets = reader.read(into);
        self.0 = State::Reading(reader);
        octets
    }
}

/// Chooses the decoder for `source`. A pipe may give its first octets one by one.
fn decoder(mut source: Box<dyn Read>) -> io::Result<Box<dyn Read>> {
    let mut magic = Vec::with_capacity(MAGIC_LEN as usize);
    source.by_ref().take(MAGIC_LEN).read_to_end(&mut magic)?;
    let plain = Cursor::new(magic.clone()).chain(source);
    Ok(match *magic {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(plain)),
        // The second pattern is a skippable frame, with which parallel compressors begin.
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
            let mut frames = zstd::Decoder::new(plain)?;
            frames.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(frames)
        }
        [0x04, 0x22, 0x4d, 0x18] => Box::new(Lz4Frames::new(BufReader::new(plain))),
        [0xfd, b'7', b'z', b'X'] => {
            Box::new(XzReader::new_mem_limit(BufReader::new(plain), true, XZ_MEMORY_KIB))
        }
        _ => Box::new(plain),
    })
}

/// LZ4 frames in a row. The decoder alone stops after each, and takes a cut between two blocks for an
/// end.
struct Lz4Frames<R: BufRead> {
    decoder: FrameDecoder<Witness<R>>,
}

impl<R: BufRead> Lz4Frames<R> {
    fn new(source: R) -> Self {
        let source = Witness { source, missed: false };
        Self { decoder: FrameDecoder::new(source) }
    }
}

impl<R: BufRead> Read for Lz4Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let octets = self.decoder.read(into)?;
            if octets > 0 || into.is_empty() {
                return Ok(octets);
            }
            // The decoder was satisfied by an end mark, or it asked for more and there was none.
            let source = self.decoder.get_mut();
            if source.missed {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if source.source.fill_buf()?.is_empty() {
                return Ok(0);
            }
        }
    }
}

/// Remembers that its reader asked for octets which the source did not have.
struct Witness<R> {
    source: R,
    missed: bool,
}

impl<R: Read> Read for Witness<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let octets = self.source.read(into)?;
        self.missed |= octets == 0 && !into.is_empty();
        Ok(octets)
    }
}

/// No signature needs more to be told from the others.
const MAGIC_LEN: u64 = 4;

/// 128 MiB, what `zstd -d` accepts unless told otherwise.
const ZSTD_WINDOW_LOG: u32 = 27;

/// 128 MiB; `xz -9` asks for 64.
const XZ_MEMORY_KIB: u32 = 128 * 1024;
