//! Stage 1: decompression of captures. The first bytes decide about the format, never the file name.
//!
//! In: any [`Read`]. Out: another one that gives the same bytes, or the decompressed bytes. Concatenated members,
//! frames and streams (as of rotated files joined by `cat`) are read as one stream. This file contains no
//! knowledge of capture formats.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek};

use flate2::read::MultiGzDecoder;
use lz4_flex::frame::FrameDecoder;
use lzma_rust2::XzReader;

use super::zstd::ZstdFrames;

/// Reader of a source that is decompressed if necessary. The source is first read when this reader is.
pub struct Decompressed(SourceState);

enum SourceState {
    Unread(Box<dyn Read + Send>),
    Reading(Box<dyn Read + Send>),
    /// The source failed before its format was known.
    Failed,
}

impl Decompressed {
    /// Reads `source`, whose first bytes decide how. Nothing is read yet.
    pub fn new(source: Box<dyn Read + Send>) -> Self {
        Self(SourceState::Unread(source))
    }
}

/// Whether a file is compressed, by its first bytes. The position is reset to the start of the file.
pub(super) fn is_compressed(file: &mut File) -> io::Result<bool> {
    let mut magic = Vec::new();
    file.by_ref().take(MAGIC_LEN as u64).read_to_end(&mut magic)?;
    file.rewind()?;
    Ok(Compression::of(&magic).is_some())
}

/// Whether these are the first [`MAGIC_LEN`] bytes of a compressed file.
pub(super) const fn is_magic_of_compression(magic: &[u8]) -> bool {
    Compression::of(magic).is_some()
}

/// Compression formats that can be read.
enum Compression {
    Gzip,
    Zstd,
    Lz4,
    Xz,
}

impl Compression {
    const fn of(magic: &[u8]) -> Option<Self> {
        Some(match magic {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // The second pattern is a skippable frame, which parallel compressors write first.
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Self::Zstd,
            [0x04, 0x22, 0x4d, 0x18] => Self::Lz4,
            [0xfd, b'7', b'z', b'X'] => Self::Xz,
            _ => return None,
        })
    }
}

impl Read for Decompressed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let SourceState::Reading(reader) = &mut self.0 {
            return reader.read(into);
        }
        let SourceState::Unread(source) = std::mem::replace(&mut self.0, SourceState::Failed)
        else {
            return Ok(0);
        };
        let mut reader = decoder(source)?;
        let bytes = reader.read(into);
        self.0 = SourceState::Reading(reader);
        bytes
    }
}

/// Chooses the decoder for `source`. Reads in a loop, because a pipe may give its first bytes one by one.
fn decoder(mut source: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let mut magic = Vec::new();
    source.by_ref().take(MAGIC_LEN as u64).read_to_end(&mut magic)?;
    let plain = Cursor::new(magic.clone()).chain(source);
    Ok(match Compression::of(&magic) {
        Some(Compression::Gzip) => Box::new(MultiGzDecoder::new(plain)),
        Some(Compression::Zstd) => {
            Box::new(ZstdFrames::new(BufReader::with_capacity(ZSTD_BUFFER, plain)))
        }
        Some(Compression::Lz4) => Box::new(Lz4Frames::new(BufReader::new(plain))),
        Some(Compression::Xz) => {
            Box::new(XzReader::new_mem_limit(BufReader::new(plain), true, XZ_MEMORY_KIB))
        }
        None => Box::new(plain),
    })
}

/// Reader of concatenated LZ4 frames. The decoder itself stops after each frame, and does not distinguish the end
/// of a frame from a file truncated between two blocks.
struct Lz4Frames<R: BufRead> {
    decoder: FrameDecoder<EofTracker<R>>,
}

impl<R: BufRead> Lz4Frames<R> {
    fn new(source: R) -> Self {
        let source = EofTracker { source, reached_end: false };
        Self { decoder: FrameDecoder::new(source) }
    }
}

impl<R: BufRead> Read for Lz4Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let bytes = self.decoder.read(into)?;
            if bytes > 0 || into.is_empty() {
                return Ok(bytes);
            }
            // The decoder stops at an end mark, or because the source has ended before one.
            let source = self.decoder.get_mut();
            if source.reached_end {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if source.source.fill_buf()?.is_empty() {
                return Ok(0);
            }
        }
    }
}

/// Records whether a read was attempted at the end of the source.
struct EofTracker<R> {
    source: R,
    reached_end: bool,
}

impl<R: Read> Read for EofTracker<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.source.read(into)?;
        self.reached_end |= bytes == 0 && !into.is_empty();
        Ok(bytes)
    }
}

/// Bytes that distinguish all the formats.
pub(super) const MAGIC_LEN: usize = 4;

/// The largest block of zstd with its header.
const ZSTD_BUFFER: usize = 1 << 17;

/// 128 MiB, where `xz -9` needs 64 MiB.
const XZ_MEMORY_KIB: u32 = 128 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::samples::{PcapBuilder, Trickle, frames, notices};
    use super::super::{Endian, NoticeKind};
    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn lz4(bytes: &[u8]) -> Vec<u8> {
        let mut blocks = lz4_flex::frame::FrameInfo::new();
        blocks.block_size = lz4_flex::frame::BlockSize::Max64KB;
        let mut out = lz4_flex::frame::FrameEncoder::with_frame_info(blocks, Vec::new());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    /// Output of `printf 'beamscope' | xz -0`.
    #[rustfmt::skip]
    const XZ: &[u8] = &[
        0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x04, 0xe6, 0xd6, 0xb4, 0x46,
        0x02, 0x00, 0x21, 0x01, 0x0c, 0x00, 0x00, 0x00, 0x8f, 0x98, 0x41, 0x9c,
        0x01, 0x00, 0x08, 0x62, 0x65, 0x61, 0x6d, 0x73, 0x63, 0x6f, 0x70, 0x65,
        0x00, 0x00, 0x00, 0x00, 0x55, 0x29, 0xaf, 0x4c, 0x2c, 0x67, 0xb9, 0xc0,
        0x00, 0x01, 0x21, 0x09, 0x6c, 0x18, 0xc5, 0xd5, 0x1f, 0xb6, 0xf3, 0x7d,
        0x01, 0x00, 0x00, 0x00, 0x00, 0x04, 0x59, 0x5a,
    ];

    fn decompress(bytes: &[u8], step: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let source = Trickle { bytes: bytes.to_vec().into(), step };
        Decompressed::new(Box::new(source)).read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn every_format_is_recognised_by_content_also_concatenated_and_byte_by_byte() {
        let (one, two) = (b"beamscope".as_slice(), b"beamscopebeamscope".as_slice());
        for packed in [gzip(one), zstd(one), lz4(one), XZ.to_vec()] {
            for step in [1, 3, usize::MAX] {
                assert_eq!(decompress(&packed, step).unwrap(), one);
                assert_eq!(decompress(&packed.repeat(2), step).unwrap(), two);
            }
        }
        assert_eq!(decompress(b"be", 1).unwrap(), b"be");
    }

    #[test]
    fn truncation_is_reported_and_all_frames_before_it_are_read() {
        let mut file = PcapBuilder::file(Endian::Little, 0xa1b2_c3d4, 1);
        let mut state = 1u32;
        for n in 0..3000u32 {
            // Random bytes do not compress, so each part of the output needs a part of the input.
            let noise = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            });
            let noise: Vec<u8> = noise.take(100).collect();
            file.record(n, n, 100, &noise);
        }
        for packed in [gzip(&file.bytes), zstd(&file.bytes), lz4(&file.bytes)] {
            assert_eq!(frames(&packed).len(), 3000);
            let mut before = 0;
            for eighth in 1..8 {
                let cut = &packed[..packed.len() * eighth / 8];
                let given = frames(cut).len();
                assert!(given >= before && given < 3000);
                before = given;
                let notices = notices(cut);
                assert_eq!(notices.len(), 1);
                assert_eq!(notices[0].kind, NoticeKind::Truncated);
            }
            assert!(before > 0);
        }
    }

    #[test]
    fn truncation_at_any_byte_is_reported_without_a_panic() {
        let mut file = PcapBuilder::file(Endian::Little, 0xa1b2_c3d4, 1);
        file.record(1, 1, 3, b"abc");
        for packed in [gzip(&file.bytes), zstd(&file.bytes), lz4(&file.bytes)] {
            for cut in 4..packed.len() {
                assert_eq!(notices(&packed[..cut]).len(), 1, "{cut} of {}", packed.len());
            }
        }
    }

    #[test]
    fn corrupt_bytes_cause_no_panic() {
        let mut file = PcapBuilder::file(Endian::Little, 0xa1b2_c3d4, 1);
        file.record(1, 1, 3, b"abc");
        for packed in [gzip(&file.bytes), zstd(&file.bytes), lz4(&file.bytes), XZ.to_vec()] {
            for at in 4..packed.len() {
                for flip in [0x01, 0x80, 0xff] {
                    let mut packed = packed.clone();
                    packed[at] ^= flip;
                    // The result is an error or other bytes, since an LZ4 block may have no checksum.
                    let _ = decompress(&packed, usize::MAX);
                }
            }
        }
    }
}
