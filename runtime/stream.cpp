#include "runtime/stream.h"

#include <string>
#include <utility>

#include "runtime/backend.h"

namespace mfl {

Event::Event(Device d) : device_(d), native_(backend::create_event(d)) {}
Event::~Event() {
  if (native_) backend::destroy_event(device_, native_);
}
Event::Event(Event&& o) noexcept : device_(o.device_), native_(std::exchange(o.native_, nullptr)) {}
Event& Event::operator=(Event&& o) noexcept {
  std::swap(device_, o.device_);
  std::swap(native_, o.native_);
  return *this;
}
bool Event::done() const { return backend::event_done(device_, native_); }
void Event::synchronize() const { backend::synchronize_event(device_, native_); }
double Event::milliseconds_since(const Event& earlier) const {
  return backend::event_milliseconds(device_, earlier.native_, native_);
}

Stream Stream::create(Device d, std::string_view name) {
  Stream s;
  s.device_ = d;
  s.native_ = backend::create_stream(d, std::string(name).c_str());
  return s;
}
Stream::~Stream() {
  if (native_) backend::destroy_stream(device_, native_);
}
Stream::Stream(Stream&& o) noexcept : device_(o.device_), native_(std::exchange(o.native_, nullptr)) {}
Stream& Stream::operator=(Stream&& o) noexcept {
  std::swap(device_, o.device_);
  std::swap(native_, o.native_);
  return *this;
}
Event Stream::record() const {
  Event e(device_);
  record(e);
  return e;
}
void Stream::record(Event& e) const { backend::record_event(device_, e.native_, native_); }
void Stream::wait(const Event& e) const { backend::stream_wait_event(device_, native_, e.native()); }
void Stream::synchronize() const { backend::synchronize_stream(device_, native_); }

void copy(const Stream& s, ConstView from, View to) {
  MFL_CHECK(from.shape == to.shape && from.dtype == to.dtype, "copy: ", from.dtype, ' ', from.shape, " to ", to.dtype, ' ',
            to.shape);
  MFL_CHECK(from.contiguous() && to.contiguous(), "copy: both sides must be contiguous");
  backend::copy(s.device(), s.native(), to.data, from.data, static_cast<std::size_t>(to.numel()) * size_of(to.dtype));
}
void fill_zero(const Stream& s, View v) {
  MFL_CHECK(v.contiguous(), "fill_zero: the view must be contiguous");
  backend::fill_bytes(s.device(), s.native(), v.data, 0, static_cast<std::size_t>(v.numel()) * size_of(v.dtype));
}

}  // namespace mfl
