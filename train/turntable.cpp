#include "train/turntable.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/io/atomic_file.h"
#include "runtime/io/png.h"
#include "train/panels.h"

extern char** environ;

namespace mfl {
namespace {

// Runs `ffmpeg` and feeds it the frames. Empty on success, else the reason. A socket stands in for the usual pipe:
// writing to a program that has ended is then an error code and not a signal that ends training.
std::string encode_with_ffmpeg(const std::filesystem::path& to, const std::vector<data::Image>& frames, int fps) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return text("no socket: ", std::strerror(errno));
  const std::string size = text(frames[0].width, 'x', frames[0].height), rate = std::to_string(fps), file = to.string();
  const std::vector<std::string> words = {"ffmpeg",
                                          "-y",
                                          "-loglevel",
                                          "error",
                                          "-f",
                                          "rawvideo",
                                          "-pix_fmt",
                                          "rgb24",
                                          "-s",
                                          size,
                                          "-r",
                                          rate,
                                          "-i",
                                          "pipe:0",
                                          "-an",
                                          "-vf",
                                          "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white",
                                          "-c:v",
                                          "libx264",
                                          "-preset",
                                          "veryfast",
                                          "-crf",
                                          "16",
                                          "-pix_fmt",
                                          "yuv420p",
                                          "-movflags",
                                          "+faststart",
                                          "-f",
                                          "mp4",
                                          file};
  std::vector<char*> arguments;
  for (const std::string& w : words) arguments.push_back(const_cast<char*>(w.c_str()));
  arguments.push_back(nullptr);

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, ends[1], STDIN_FILENO);
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int failed = ::posix_spawnp(&child, "ffmpeg", &files, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  ::close(ends[1]);
  if (failed != 0) {
    ::close(ends[0]);
    return text("no ffmpeg program was found (", std::strerror(failed), ")");
  }
  for (const data::Image& frame : frames) {
    std::size_t sent = 0;
    while (sent < frame.pixels.size()) {
      const ssize_t n = ::send(ends[0], frame.pixels.data() + sent, frame.pixels.size() - sent, MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      sent += static_cast<std::size_t>(n);
    }
    if (sent < frame.pixels.size()) break;  // it ended early; its exit code says so
  }
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) return "no ffmpeg program was found";
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return "ffmpeg could not encode H.264";
  return "";
}

}  // namespace

data::Image turntable_strip(ConstView views) { return draw_strip(views); }

data::Image with_strip_below(const data::Image& frame, const data::Image& strip) {
  constexpr int kBorder = 2;
  constexpr std::uint8_t kGrey = 200;
  MFL_CHECK(frame.channels == 3 && strip.channels == 3 && frame.width > 2 * kBorder, "with_strip_below: RGB images");
  const int width = frame.width - 2 * kBorder;
  const int height =
      std::max(1, static_cast<int>(std::lround(static_cast<double>(strip.height) * width / strip.width)));
  data::Image out(frame.width, frame.height + height + 2 * kBorder, 3);
  std::fill(out.pixels.begin(), out.pixels.end(), kGrey);
  std::copy(frame.pixels.begin(), frame.pixels.end(), out.pixels.begin());
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      // The source pixels that the target pixel covers, at least one.
      const int x0 = x * strip.width / width, x1 = std::max(x0 + 1, (x + 1) * strip.width / width);
      const int y0 = y * strip.height / height, y1 = std::max(y0 + 1, (y + 1) * strip.height / height);
      for (int c = 0; c < 3; ++c) {
        int sum = 0;
        for (int v = y0; v < y1; ++v)
          for (int u = x0; u < x1; ++u) sum += strip.row(v)[3 * u + c];
        const int count = (x1 - x0) * (y1 - y0);
        out.row(frame.height + kBorder + y)[3 * (kBorder + x) + c] =
            static_cast<std::uint8_t>((sum + count / 2) / count);
      }
    }
  return out;
}

std::filesystem::path write_video(const std::filesystem::path& base, const std::vector<data::Image>& frames, int fps,
                                  std::string* note) {
  MFL_CHECK(!frames.empty(), "a video without frames");
  for (const data::Image& f : frames)
    MFL_CHECK(f.channels == 3 && f.width == frames[0].width && f.height == frames[0].height,
              "a video's frames are RGB of one size; ", f.width, " x ", f.height, " x ", f.channels, " after ",
              frames[0].width, " x ", frames[0].height, " x 3");
  std::filesystem::path mp4 = base, part = base, png = base;
  mp4 += ".mp4", part += ".part.mp4", png += "_animated.png";
  std::error_code failed;
  if (base.has_parent_path()) std::filesystem::create_directories(base.parent_path(), failed);
  const std::string reason = encode_with_ffmpeg(part, frames, fps);
  if (reason.empty()) {
    std::filesystem::rename(part, mp4, failed);
    if (failed) throw_error<DataError>("cannot write ", mp4.string(), ": ", failed.message(), '.');
    return mp4;
  }
  std::filesystem::remove(part, failed);
  std::vector<const std::uint8_t*> pixels;
  for (const data::Image& f : frames) pixels.push_back(f.pixels.data());
  io::AtomicFile file(png);
  file.write(io::encode_apng({frames[0].width, frames[0].height, 3}, pixels, fps));
  file.commit();
  if (note) *note = text("the video is the animated picture ", png.string(), ", which browsers play: ", reason, '.');
  return png;
}

}  // namespace mfl
