#include "train/background_save.h"

#include <chrono>
#include <utility>

#include "models/weights/coverage.h"
#include "runtime/io/io_remedy.h"
#include "runtime/log.h"
#include "train/agreed_failure.h"
#include "train/finite.h"
#include "train/plan.h"

namespace mfl {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

}  // namespace

std::string element_of(const ParamStore& store, std::string_view buffer, std::int64_t element) {
  for (const Param& p : store.all())
    if (p.first <= element && element < p.first + p.numel()) return text(buffer, " of ", p.name);
  return text("element ", element, " of ", buffer);
}

std::uint64_t BackgroundSave::staging_bytes(const std::vector<SavedBuffer>& buffers) {
  std::uint64_t bytes = 0;
  for (const SavedBuffer& b : buffers) bytes += b.bytes();
  return bytes;
}

BackgroundSave::BackgroundSave(const Stream& compute, std::vector<SavedBuffer> buffers, SaveOptions options)
    : compute_(compute), buffers_(std::move(buffers)), options_(std::move(options)),
      staging_(Tensor::pinned({static_cast<std::int64_t>(staging_bytes(buffers_))}, DType::u8, {"checkpoint staging"})),
      stream_(Stream::create(compute.device(), "checkpoint")), ready_(compute.device()), copied_(compute.device()),
      before_wait_(compute.device()), after_wait_(compute.device()) {
  std::uint64_t at = 0;
  for (const SavedBuffer& b : buffers_) {
    first_byte_.push_back(std::exchange(at, at + b.bytes()));
    shapes_.push_back(b.shape()), types_.push_back(b.held.dtype());
  }
}

BackgroundSave::~BackgroundSave() {
  try {
    wait();
  } catch (const std::exception& e) {
    log_error("the last checkpoint was not written: ", e.what());
  }
}

io::StoredTensor BackgroundSave::piece(std::size_t buffer, std::int64_t first, Shape shape) const {
  const DType type = types_[buffer];
  const std::uint64_t at = first_byte_[buffer] + static_cast<std::uint64_t>(first) * size_of(type);
  return io::stored(make_view(static_cast<const void*>(staging_.data<std::uint8_t>() + at), shape, type));
}

io::NamedStored BackgroundSave::piece(std::size_t buffer, const Param& p) const {
  return weights::published(p, piece(buffer, p.first, p.memory_shape()));
}

void BackgroundSave::start(std::filesystem::path path, std::int64_t number, std::function<std::uint64_t()> write) {
  const auto begin = Clock::now();
  wait();
  compute_.record(ready_);
  stream_.wait(ready_);
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    const SavedBuffer& b = buffers_[i];
    const View to = make_view(staging_.data<std::uint8_t>() + first_byte_[i], shapes_[i], types_[i]);
    if (b.divided()) b.sharding->collect(stream_, b.held, to);
    else copy(stream_, b.held, to);
  }
  stream_.record(copied_);
  copying_ = true, waited_ = false;
  current_ = {.path = std::move(path), .number = number};
  writing_ = std::async(std::launch::async, [this, write = std::move(write)] {
    copied_.synchronize();
    const auto copied = Clock::now();
    refuse_non_finite();
    try {
      const std::uint64_t bytes = write();
      return Written{seconds_since(copied), bytes};
    } catch (const std::filesystem::filesystem_error& e) {
      throw_error<DataError>(e.path1().string(), ": ", e.code().message(), "; the checkpoint was not written, older ones are unchanged.",
                             io::io_remedy(e.code().value()));
    }
  });
  current_.stall_seconds = seconds_since(begin);
}

// On the writing thread.
void BackgroundSave::refuse_non_finite() const {
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    const ConstView copy = make_view(static_cast<const void*>(staging_.data<std::uint8_t>() + first_byte_[i]), shapes_[i], types_[i]);
    if (const std::int64_t at = first_non_finite(copy); at >= 0)
      throw_error<NotFiniteState>(options_.what ? options_.what(i, at) : text("element ", at, " of buffer ", i),
                                  " is not a finite number; nothing was written, older checkpoints are unchanged.");
  }
}

void BackgroundSave::before_update() {
  if (!std::exchange(copying_, false)) return;
  compute_.record(before_wait_);
  compute_.wait(copied_);
  compute_.record(after_wait_);
  waited_ = true;
}

void BackgroundSave::poll() {
  if (!writing_.valid() || writing_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) return;
  if (waited_ && !after_wait_.done()) return;
  wait();
}

void BackgroundSave::wait() {
  if (!writing_.valid()) return;
  SavedCheckpoint saved = current_;
  failure_ = nullptr;
  Written written{};
  bool refused = false;
  try {
    written = writing_.get();
  } catch (const NotFiniteState&) {
    failure_ = std::current_exception(), refused = true;
  } catch (...) {
    failure_ = std::current_exception();
  }
  if (failure_) {
    if (options_.failed) options_.failed({saved.path, saved.number, cause_of(failure_), refused});
    if (!options_.go_on && !refused) std::rethrow_exception(failure_);
    return;
  }
  saved.write_seconds = written.seconds, saved.bytes = written.bytes;
  if (waited_) {
    after_wait_.synchronize();
    saved.stall_seconds += after_wait_.milliseconds_since(before_wait_) * 1e-3;
  }
  saved.verified = options_.verify;
  if (options_.done) options_.done(saved);
}

std::exception_ptr BackgroundSave::finish() {
  try {
    wait();
  } catch (...) {
    return std::current_exception();
  }
  return failure_;
}

StateSender::StateSender(const Stream& compute, std::vector<SavedBuffer> buffers)
    : compute_(compute), buffers_(std::move(buffers)), stream_(Stream::create(compute.device(), "checkpoint")), ready_(compute.device()),
      sent_(compute.device()) {
  std::erase_if(buffers_, [](const SavedBuffer& b) { return !b.divided(); });
}

void StateSender::start() {
  if (buffers_.empty()) return;
  compute_.record(ready_);
  stream_.wait(ready_);
  for (const SavedBuffer& b : buffers_) b.sharding->collect(stream_, b.held, {});
  stream_.record(sent_);
  sending_ = true;
}

void StateSender::before_update() {
  if (std::exchange(sending_, false)) compute_.wait(sent_);
}

std::string disk_forecast(const std::filesystem::path& folder, std::int64_t checkpoints, std::uint64_t bytes, std::string_view remedy) {
  const double needed = double(checkpoints) * double(bytes);
  std::error_code unknown;
  const std::filesystem::space_info disk = std::filesystem::space(folder, unknown);
  if (unknown || needed <= double(disk.available)) return {};
  return text("up to ", checkpoints, " checkpoints of ", human_bytes(bytes), " need ", human_bytes(std::size_t(needed)), "; ",
              folder.string(), " has ", human_bytes(disk.available), " free. Free some, ", remedy);
}

}  // namespace mfl
