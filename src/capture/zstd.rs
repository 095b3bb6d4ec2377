//! Concatenated zstd frames, decoded in Rust.
//!
//! The decoder knows single frames. Skippable frames, checksums, the limit on the window, and the bytes left when
//! the source ends inside a frame are handled here.

use std::error::Error;
use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Decompresses all zstd frames of `source`, one after the other.
///
/// The decoder keeps the last bytes of a frame, as many as its window has, until the frame goes on or ends:
/// later blocks may refer to them. Output lags behind input by that much (2 MiB with `zstd -3`).
pub(super) struct ZstdFrames<R> {
    source: R,
    decoder: FrameDecoder,
    state: FrameState,
}

enum FrameState {
    BetweenFrames,
    InFrame,
    /// The frame is broken. The error is reported once all bytes before it are read.
    Broken(Option<io::Error>),
}

impl<R: BufRead> ZstdFrames<R> {
    pub(super) fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        Self { source, decoder, state: FrameState::BetweenFrames }
    }

    /// Reads the next frame header; `false` at the end of the source.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => {
                    self.state = FrameState::InFrame;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    let skipped =
                        io::copy(&mut self.source.by_ref().take(length), &mut io::sink())?;
                    if skipped < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(e) => return Err(io_error(e)),
            }
        }
        Ok(false)
    }

    /// Decodes the next block, or ends a frame that cannot be decoded further.
    fn next_block(&mut self) {
        if let Err(e) = self.decoder.decode_blocks(&mut self.source, ONE_BLOCK) {
            self.state = FrameState::Broken(Some(io_error(e)));
            // An empty last block makes the decoder give the bytes that it kept for later blocks.
            if self.decoder.decode_blocks(EMPTY_LAST_BLOCK, ONE_BLOCK).is_err() {
                self.decoder = FrameDecoder::new();
            }
        }
    }

    /// Compares the checksum of a decoded frame, where it has one.
    fn end_frame(&mut self) {
        let expected = self.decoder.get_checksum_from_data();
        let is_intact = expected.is_none() || expected == self.decoder.get_calculated_checksum();
        self.state = if is_intact {
            FrameState::BetweenFrames
        } else {
            let error =
                io::Error::new(io::ErrorKind::InvalidData, "wrong checksum of a zstd frame");
            FrameState::Broken(Some(error))
        };
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(into);
            }
            match &mut self.state {
                FrameState::BetweenFrames => match self.next_frame() {
                    Ok(true) => {}
                    Ok(false) => return Ok(0),
                    Err(e) => self.state = FrameState::Broken(Some(e)),
                },
                FrameState::InFrame if self.decoder.is_finished() => self.end_frame(),
                FrameState::InFrame => self.next_block(),
                FrameState::Broken(error) => return error.take().map_or(Ok(0), Err),
            }
        }
    }
}

/// An error of the decoder; where it stems from the source, with the kind that the source gave it.
fn io_error(error: FrameDecoderError) -> io::Error {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(it) = cause {
        if let Some(source) = it.downcast_ref::<io::Error>() {
            return io::Error::new(source.kind(), error);
        }
        cause = it.source();
    }
    io::Error::new(io::ErrorKind::InvalidData, error)
}

const ONE_BLOCK: BlockDecodingStrategy = BlockDecodingStrategy::UptoBlocks(1);

/// The header of a raw block without bytes, marked as the last one (RFC 8878, 3.1.1.2), and a checksum, which
/// is read where the frame header announces one.
const EMPTY_LAST_BLOCK: &[u8] = &[1, 0, 0, 0, 0, 0, 0];

/// 128 MiB, what `zstd -d` accepts by default: the most memory that a frame header can ask for.
const MAX_WINDOW: u64 = 1 << 27;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> (Vec<u8>, Option<io::ErrorKind>) {
        let mut out = Vec::new();
        let error = ZstdFrames::new(bytes).read_to_end(&mut out).err();
        (out, error.map(|e| e.kind()))
    }

    /// `printf beamscope | zstd`: a raw block and a checksum.
    #[rustfmt::skip]
    const RAW: &[u8] = &[
        0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58, 0x49, 0x00, 0x00, 0x62, 0x65, 0x61,
        0x6d, 0x73, 0x63, 0x6f, 0x70, 0x65, 0x6a, 0xd3, 0xae, 0xb4,
    ];

    /// `head -c 300000 /dev/zero | zstd`: a compressed block, two of one repeated byte, and a checksum.
    #[rustfmt::skip]
    const ZEROS: &[u8] = &[
        0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58, 0x54, 0x00, 0x00, 0x10, 0x00, 0x00,
        0x01, 0x00, 0xfb, 0xff, 0x39, 0xc0, 0x02, 0x02, 0x00, 0x10, 0x00, 0x03,
        0x9f, 0x04, 0x00, 0x2d, 0x28, 0xde, 0x26,
    ];

    const SKIPPABLE: &[u8] = &[0x53, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 0x28, 0xb5, 0x2f, 0xfd];

    #[test]
    fn frames_of_the_reference_encoder_are_decoded_one_after_the_other() {
        let expected = [b"beamscope".as_slice(), &[0; 300_000], b"beamscope"].concat();
        assert_eq!(read(&[RAW, ZEROS, RAW].concat()), (expected, None));
    }

    #[test]
    fn skippable_frames_are_skipped_and_a_cut_one_is_an_error() {
        let all = [SKIPPABLE, RAW, SKIPPABLE, SKIPPABLE, RAW, SKIPPABLE].concat();
        assert_eq!(read(&all), (b"beamscopebeamscope".to_vec(), None));
        let cut = [RAW, &SKIPPABLE[..SKIPPABLE.len() - 1]].concat();
        assert_eq!(read(&cut), (b"beamscope".to_vec(), Some(io::ErrorKind::UnexpectedEof)));
    }

    #[test]
    fn what_the_window_holds_at_a_cut_is_given_before_the_error() {
        let all_blocks = ZEROS.len() - 4;
        let (out, error) = read(&ZEROS[..all_blocks]);
        assert_eq!((out.len(), error), (300_000, Some(io::ErrorKind::UnexpectedEof)));
        let (out, error) = read(&ZEROS[..all_blocks - 1]);
        assert_eq!((out.len(), error), (262_144, Some(io::ErrorKind::UnexpectedEof)));
    }

    #[test]
    fn a_wrong_checksum_is_an_error_behind_the_bytes() {
        let mut broken = RAW.to_vec();
        *broken.last_mut().unwrap() ^= 1;
        let broken = [&broken, RAW].concat();
        assert_eq!(read(&broken), (b"beamscope".to_vec(), Some(io::ErrorKind::InvalidData)));
    }

    #[test]
    fn a_window_above_the_limit_is_refused_before_memory_is_asked_for() {
        // The window descriptor: an exponent above 2^10 in the upper five bits, eighths of it below.
        let with_window = |descriptor| {
            let mut frame = RAW.to_vec();
            frame[5] = descriptor;
            read(&frame)
        };
        assert_eq!(with_window(17 << 3), (b"beamscope".to_vec(), None));
        assert_eq!(with_window(17 << 3 | 1), (Vec::new(), Some(io::ErrorKind::InvalidData)));
        assert_eq!(with_window(0xff), (Vec::new(), Some(io::ErrorKind::InvalidData)));
    }

    #[test]
    fn any_damage_is_an_error_or_other_bytes_and_never_a_panic() {
        for whole in [RAW, ZEROS] {
            for at in 0..whole.len() {
                for bit in 0..8 {
                    let mut damaged = whole.to_vec();
                    damaged[at] ^= 1 << bit;
                    let (out, _) = read(&damaged);
                    assert!(out.len() <= 3 << 17);
                    read(&damaged[..=at]);
                }
            }
        }
    }
}
