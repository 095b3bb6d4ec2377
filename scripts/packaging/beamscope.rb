# Homebrew formula. Not tried: there is no macOS here, and no release to download. `url` and `sha256` are set with the first
# release.
class Beamscope < Formula
  desc "Reads packet captures of Erlang clusters and explains why two nodes do not connect"
  license any_of: ["MIT", "Apache-2.0"]
  head "https://example.org/beamscope.git", branch: "main"

  depends_on "rust" => :build
  uses_from_macos "libpcap"

  def install
    system "cargo", "install", *std_cargo_args
    (man1/"beamscope.1").write Utils.safe_popen_read(bin/"beamscope", "man")
    generate_completions_from_executable(bin/"beamscope", "completions")
  end

  test do
    assert_match "cookie-mismatch", shell_output("#{bin}/beamscope explain")
  end
end
