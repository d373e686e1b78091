// Where a piece of work spends the device's time: by module (NVTX ranges) and by op, from events around each on its stream. A gap in
// which the device waits for the host counts for the op before which it waits.
#pragma once

#include <deque>
#include <iosfwd>
#include <map>
#include <string>
#include <vector>

#include "kernels/common/op_observer.h"
#include "runtime/profile.h"

namespace mfl::bench {

class Breakdown : public OpObserver, public RangeObserver {
 public:
  // Observes this thread's work on one stream while it lives.
  explicit Breakdown(const Stream&);
  ~Breakdown() override;

  // Waits for the stream. Tables of module, op, and op by shape (the `shapes` longest), with calls, milliseconds and share.
  void print(std::ostream&, std::size_t shapes = 40);

  void begin(const Stream&, const char* op, const Shape&) override;
  void end(const Stream&) override;
  void enter(const char* name) override;
  void leave(const char* name) override;

 private:
  struct Piece {
    std::string module, op, shape;   // op empty: the module itself, ops inside it included
    std::size_t from = 0, to = 0;    // events
  };
  std::size_t mark();

  const Stream& stream_;
  std::deque<Event> events_;
  std::vector<Piece> pieces_;
  std::vector<std::size_t> modules_, ops_;   // open ones, as indices into pieces_
  std::size_t first_;
};

}  // namespace mfl::bench
