#include "runtime/comm/roll_call.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <iomanip>
#include <optional>
#include <random>
#include <sstream>

#include "runtime/log.h"

namespace mfl {
namespace {

constexpr double kMeet = 5, kHurry = 0.1;  // seconds: to hear of all ranks at the start, and between words until then
constexpr double kRate = 64;               // datagrams a second, of one rank
constexpr std::size_t kAddresses = 8;
constexpr std::size_t kListed = 16;        // ranks named one by one

// What is sent. All ranks are the same program.
struct Word {
  std::uint64_t run, begun;
  double seconds;
  std::int32_t rank;
  std::uint8_t leaving, inside, here;
  std::array<char, 40> phase, call;
  std::array<char, 240> flight;
};

template <std::size_t N>
void put(std::array<char, N>& to, const std::string& from) {
  to = {};
  from.copy(to.data(), N - 1);
}
template <std::size_t N>
std::string take(const std::array<char, N>& from) {
  return {from.data(), ::strnlen(from.data(), N)};
}

sockaddr_in address(std::uint64_t packed) {
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = static_cast<in_port_t>(packed & 0xffff);
  a.sin_addr.s_addr = static_cast<in_addr_t>(packed >> 16);
  return a;
}
std::uint64_t packed(in_addr_t ip, in_port_t port) { return std::uint64_t{ip} << 16 | port; }

// This host's IPv4 addresses that others may reach.
std::vector<in_addr_t> own_addresses() {
  std::vector<in_addr_t> all;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return all;
  for (const ifaddrs* i = list; i && all.size() < kAddresses; i = i->ifa_next)
    if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET && (i->ifa_flags & IFF_UP) && !(i->ifa_flags & IFF_LOOPBACK)) {
      sockaddr_in a;
      std::memcpy(&a, i->ifa_addr, sizeof(a));
      all.push_back(a.sin_addr.s_addr);
    }
  ::freeifaddrs(list);
  return all;
}

std::string seconds(double s) { return text(std::fixed, std::setprecision(1), s, " s"); }

std::string list(const std::vector<int>& ranks) {
  std::string out = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < ranks.size() && i < kListed; ++i) out += text(i ? ", " : "", ranks[i]);
  return ranks.size() > kListed ? out + text(" and ", ranks.size() - kListed, " more") : out;
}

}  // namespace

RollCall::RollCall(Communicator& comm, double interval)
    : comm_(comm), interval_(std::max(interval, comm.size() / kRate)), peers_(static_cast<std::size_t>(comm.size())) {
  std::array<char, 256> host{};
  (void)::gethostname(host.data(), host.size() - 1);
  in_port_t port = 0;
  if (comm.size() > 1) {
    socket_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    wake_ = ::eventfd(0, EFD_CLOEXEC);
    sockaddr_in any{};
    any.sin_family = AF_INET;
    socklen_t length = sizeof(any);
    if (socket_ < 0 || wake_ < 0 || ::bind(socket_, reinterpret_cast<sockaddr*>(&any), sizeof(any)) != 0 ||
        ::getsockname(socket_, reinterpret_cast<sockaddr*>(&any), &length) != 0)
      log_warning("no UDP socket on this host (", std::strerror(errno), "): the other ranks will not hear of this one");
    port = any.sin_port;
  }
  struct Card {
    std::array<char, 256> host;
    std::array<in_addr_t, kAddresses> addresses;
    std::uint32_t count;
    in_port_t port;
    std::uint64_t run;
  };
  Card mine{host, {}, 0, port, 0};
  for (const in_addr_t a : own_addresses()) mine.addresses[mine.count++] = a;
  std::random_device random;
  mine.run = std::uint64_t{random()} << 32 | random();
  const std::vector<Card> cards = comm.gather(mine);
  run_ = cards[0].run;
  for (int r = 0; r < comm.size(); ++r) {
    const Card& c = cards[static_cast<std::size_t>(r)];
    Peer& p = peers_[static_cast<std::size_t>(r)];
    p.host = c.host.data();
    p.known.rank = r;
    p.known.host = p.host;
    p.heard = now_;
    if (c.port == 0) continue;
    for (std::uint32_t i = 0; i < c.count; ++i) p.addresses.push_back(packed(c.addresses[i], c.port));
    if (c.host == host) p.addresses.push_back(packed(htonl(INADDR_LOOPBACK), c.port));
  }
  if (comm.size() == 1 || port == 0) return;
  unheard_ = peers_.size() - 1;
  thread_ = std::thread([this] { run(); });
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::duration<double>(kMeet), [&] { return unheard_ == 0; });
  if (unheard_ == 0 || comm.rank() != 0) return;
  std::vector<int> missing;
  for (const Peer& p : peers_)
    if (!p.known.heard && p.known.rank != comm.rank()) missing.push_back(p.known.rank);
  log_warning(list(missing), " cannot be heard by rank 0 over UDP (a firewall?): a lost host is noticed by mfl.stall_seconds alone, and ",
              "whoever is missing in a stalled collective cannot be named");
}

RollCall::~RollCall() {
  if (thread_.joinable()) {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    const std::uint64_t one = 1;
    (void)!::write(wake_, &one, sizeof(one));
    thread_.join();
    // Twice: one may be lost, and whoever misses both waits for `lost`.
    for (int i = 0; i < 2; ++i) tell(/*leaving=*/true);
  }
  if (socket_ >= 0) ::close(socket_);
  if (wake_ >= 0) ::close(wake_);
}

void RollCall::set_place(std::function<Place()> where) {
  std::lock_guard lock(place_mutex_);
  where_ = std::move(where);
}
RollCall::Place RollCall::place() const {
  std::lock_guard lock(place_mutex_);
  return where_ ? where_() : Place{};
}

void RollCall::tell(bool leaving) const {
  const Place at = place();
  const Communicator::Progress p = comm_.progress();
  Word w{.run = run_, .begun = p.begun, .seconds = at.seconds, .rank = comm_.rank(), .leaving = leaving, .inside = p.inside,
         .here = at.flight.here, .phase = {}, .call = {}, .flight = {}};
  put(w.phase, at.phase);
  put(w.call, text(p.call, " of ", p.bytes, " bytes"));
  put(w.flight, at.flight.what);
  // Addresses do not change, and an error is what a cut cable looks like from here.
  for (const Peer& peer : peers_)
    if (peer.known.rank != comm_.rank())
      for (const std::uint64_t to : peer.addresses) {
        const sockaddr_in a = address(to);
        (void)!::sendto(socket_, &w, sizeof(w), 0, reinterpret_cast<const sockaddr*>(&a), sizeof(a));
      }
}

// Everything that has arrived.
void RollCall::listen() {
  Word w;
  for (;;) {
    const ssize_t n = ::recv(socket_, &w, sizeof(w), MSG_TRUNC);
    if (n < 0) return;
    if (n != sizeof(w) || w.run != run_ || w.rank < 0 || w.rank >= comm_.size() || w.rank == comm_.rank()) continue;
    std::lock_guard lock(mutex_);
    Peer& p = peers_[static_cast<std::size_t>(w.rank)];
    if (!p.known.heard && --unheard_ == 0) changed_.notify_all();
    p.heard = Clock::now();
    Rank& k = p.known;
    k.heard = true;
    k.left |= w.leaving != 0;
    k.place = {take(w.phase), w.seconds, {take(w.flight), w.here != 0}};
    k.begun = w.begun, k.inside = w.inside != 0, k.call = take(w.call);
  }
}

void RollCall::run() {
  using std::chrono::duration;
  const auto hurry = std::max(duration<double>(kHurry), interval_ / 10);
  const auto begin = Clock::now();
  auto last_told = begin - std::chrono::hours(1), woke = begin;
  for (;;) {
    auto now = Clock::now();
    {
      std::lock_guard lock(mutex_);
      if (stop_) return;
    }
    const auto every = now - begin < duration<double>(kMeet) ? std::min(interval_, hurry) : interval_;
    if (now - last_told >= every) {
      tell(/*leaving=*/false);
      last_told = now;
    }
    pollfd fds[] = {{socket_, POLLIN, 0}, {wake_, POLLIN, 0}};
    (void)::poll(fds, 2, static_cast<int>(std::max(1.0, every.count() * 1e3 / 2)));
    listen();
    now = Clock::now();
    std::lock_guard lock(mutex_);
    // Longer than any of the above takes: this process was not running.
    const auto gap = now - woke;
    if (gap > 2 * interval_)
      for (Peer& p : peers_) p.heard = std::min(now, p.heard + gap);
    woke = now_ = now;
  }
}

std::vector<RollCall::Rank> RollCall::ranks() const {
  const Place here = place();
  const Communicator::Progress progress = comm_.progress();
  std::vector<Rank> all;
  std::lock_guard lock(mutex_);
  for (const Peer& p : peers_) {
    Rank r = p.known;
    if (r.rank == comm_.rank()) {
      r.heard = true;
      r.place = here;
      r.begun = progress.begun, r.inside = progress.inside;
      r.call = text(progress.call, " of ", progress.bytes, " bytes");
    } else {
      r.silent = std::max(0.0, std::chrono::duration<double>(now_ - p.heard).count());
    }
    all.push_back(std::move(r));
  }
  return all;
}

std::vector<int> RollCall::lost(double limit) const {
  std::vector<int> ranks;
  std::lock_guard lock(mutex_);
  for (const Peer& p : peers_)
    if (p.known.heard && !p.known.left && p.known.rank != comm_.rank() && std::chrono::duration<double>(now_ - p.heard).count() > limit)
      ranks.push_back(p.known.rank);
  return ranks;
}

std::string who_is_missing(const std::vector<RollCall::Rank>& ranks, double quiet) {
  auto answers = [&](const RollCall::Rank& r) { return r.heard && !r.left && r.silent <= quiet; };
  // The first call that is not through everywhere. A rank inside call k has arrived at k; one behind it has not arrived at k + 1.
  // Only ranks that answer say so: the last word of a silent one may be older than its last call.
  std::optional<std::uint64_t> stalled;
  for (const auto& r : ranks)
    if (answers(r)) stalled = std::min(stalled.value_or(UINT64_MAX), r.inside ? r.begun : r.begun + 1);
  if (!stalled) return "no rank can be heard";
  const bool any_arrived = std::any_of(ranks.begin(), ranks.end(), [&](const auto& r) { return answers(r) && r.begun >= *stalled; });
  // On CUDA the host runs ahead: all may have enqueued it, and one device not have come to it.
  const bool any_flight = std::any_of(ranks.begin(), ranks.end(), [&](const auto& r) { return answers(r) && !r.place.flight.what.empty(); });

  std::vector<int> arrived;
  std::vector<std::string> missing;
  for (const auto& r : ranks) {
    const bool behind = any_arrived && r.begun < *stalled;
    const bool device_behind = any_flight && !r.place.flight.what.empty() && !r.place.flight.here;
    if (answers(r) && !behind && !device_behind) {
      arrived.push_back(r.rank);
      continue;
    }
    std::string how;
    if (!r.heard) how = "has never been heard";
    else if (r.left) how = "has left the run";
    else if (r.silent > quiet) how = text("not heard for ", seconds(r.silent), ", last in phase \"", r.place.phase, '"');
    else how = text("in phase \"", r.place.phase, "\" for ", seconds(r.place.seconds));
    if (answers(r) && !behind) how += ", its device has not come to it";
    missing.push_back(text("rank ", r.rank, " on ", r.host, " (", how, ')'));
  }
  // Its name: from a rank that is inside it, else from one that has come further, whose device is still there.
  std::string name;
  auto first = [&](auto&& of) {
    for (const auto& r : ranks)
      if (name.empty() && answers(r)) name = of(r);
  };
  first([&](const auto& r) { return r.inside && r.begun == *stalled ? r.place.flight.what : ""; });
  first([&](const auto& r) { return r.inside ? "" : r.place.flight.what; });
  first([&](const auto& r) { return r.inside && r.begun == *stalled ? r.call : ""; });

  std::string out = name.empty() ? "a collective" : name;
  if (missing.empty()) return out + ": all ranks answer, and none is missing in it";
  out += " waits for ";
  for (std::size_t i = 0; i < missing.size() && i < kListed; ++i) out += text(i ? ", " : "", missing[i]);
  if (missing.size() > kListed) out += text(" and ", missing.size() - kListed, " more");
  return arrived.empty() ? out : out + text("; ", list(arrived), any_arrived ? " arrived" : " can be heard");
}

}  // namespace mfl
