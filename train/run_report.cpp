#include "train/run_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "runtime/log.h"
#include "train/agreed_failure.h"
#include "train/memory_plan.h"

namespace mfl {

RunReport::RunReport(bool leader, ReportOptions o) : leader_(leader), options_(std::move(o)), progress_(leader, options_.print_every),
      divergence_(options_.faults.max_non_finite, options_.max_skipped, options_.faults.divergence_factor) {
  if (!leader_) return;
  log_ = RunLog(options_.folder);
  events = EventWriter(options_.folder);
}

void RunReport::start(const RunHeader& h) {
  first_ = h.start_pass, total_ = h.total_passes;
  divergence_.start(first_);
  if (leader_) log_.start(h);
}

bool RunReport::update(const UpdateResult& u, const Suspects& suspects, const std::function<void(StepRecord&)>& fill) {
  const std::int64_t pass = u.pass;
  const double learning_rate = u.learning_rate;
  const StepScalars& s = u.scalars;
  ledger_.record(s.outcome, s.norm);
  const bool print = progress_.due(pass, first_, total_);
  const bool log = options_.log_every > 0 && (pass % options_.log_every == 0 || pass - first_ <= 100 || pass == total_);
  if (leader_ && (print || log)) {
    StepRecord r;
    r.pass = pass, r.total_passes = total_, r.update = s.updates;
    r.learning_rate = learning_rate, r.grad_norm = s.norm;
    r.ledger = ledger_.counts();
    meter.take(r);
    fill(r);
    if (print) progress_.print(r);
    else progress_.status(r);
    if (log) {
      log_.step(r);
      for (const auto& [name, value] : r.losses) events.scalar("train/" + name, pass, value);
      events.scalar("train/lr", pass, learning_rate);
      events.scalar("train/grad_norm", pass, s.norm);
      events.scalar("train/samples_per_second", pass, r.samples_per_second);
      events.scalar("train/not_applied", pass, double(ledger_.counts().not_applied()));
      events.flush();
    }
  }
  if (s.outcome == UpdateOutcome::non_finite && leader_) {
    const bool loss = suspects.certain && !suspects.list.empty();
    const std::string gradient = u.bad_segment.empty() ? "" : "the gradient of " + u.bad_segment + " is not finite";
    const std::string what = !loss && !gradient.empty() ? gradient : gradient.empty() ? "the loss is not finite" : "the loss is not finite, and " + gradient;
    log_warning("pass ", pass, ": ", what, "; the update was left out on all ranks, the weights are unchanged. ",
                suspects.certain ? "Samples to blame: " : "Samples of the update: ", suspects.text());
    log_.non_finite(pass, what, suspects);
    suspects_.push_back(text("pass ", pass, ": ", what, "; ", suspects.text()));
    if (suspects_.size() > Divergence::kHistory) suspects_.pop_front();
  }
  if (leader_)
    if (const auto alarm = ledger_.alarm(options_.clip_norm, options_.allowed_factor)) {
      log_warning(*alarm);
      log_.event("alarm", pass, {{"what", *alarm}});
    }
  const auto why = divergence_.record(u);
  if (why) why_ = *why;
  return !why;
}

int RunReport::checkpoints_to_keep(int limit) const {
  return limit <= 0 || ledger_.skipped_in_a_row() > 0 ? 0 : std::max(limit, 2);
}

void RunReport::slow(std::int64_t pass, const SlowRank& r) {
  if (!leader_) return;
  log_warning(fmt::format("rank {} on {} is slow: {:.3f} s an update, {:.3f} s of it waiting for data, where half of the ranks need at most {:.3f} s "
                          "(mfl.faults.slow_rank_factor {}). All wait for it. {}",
                          r.rank, r.host, r.seconds, r.data_wait, r.median, options_.faults.slow_rank_factor,
                          r.data_wait > r.seconds / 2 ? "Look at that host's storage and the loader's workers." : "Look at that host's clocks, temperature and other jobs."));
  log_.event("slow_rank", pass, {{"host", r.host}}, {{"rank", double(r.rank)}, {"seconds", r.seconds}, {"data_wait", r.data_wait}, {"median", r.median}});
}

bool RunReport::refused(Communicator& comm) {
  struct Refusal {
    std::int64_t pass;
  };
  const std::int64_t pass = comm.gather(Refusal{refused_})[0].pass;
  if (pass < 0) return false;
  divergence_.refused(pass);
  why_ = text("the state of pass ", pass, " is not finite, so that it was not saved");
  if (leader_) why_ += ": " + refusal_;
  return true;
}

void RunReport::returned(std::int64_t from, std::int64_t to, const std::string& where, std::uint64_t data_position) {
  ++returns_;
  refused_ = -1;
  ledger_ = UpdateLedger(ledger_.counts());
  divergence_.returned(to);
  if (!leader_) return;
  const int aside = points.set_aside(to);
  log_warning("pass ", from, ": the run has diverged: ", why_, ". It goes on from pass ", to, " (", where,
              "), once; the data go on where they were, at position ", data_position, ", so that what was seen since then is left out of this epoch.",
              aside > 0 ? text(" ", aside, aside == 1 ? " checkpoint" : " checkpoints", " of later passes now end in .unsound.") : std::string());
  log_.event("rolled_back", from, {{"what", why_}, {"from", where}}, {{"to_pass", double(to)}, {"data_position", double(data_position)}, {"set_aside", double(aside)}});
}

void RunReport::diverged(std::int64_t pass) {
  if (!leader_) return;
  const int aside = points.set_aside(sound_before() - 1);
  std::string report = text("the run has diverged at pass ", pass, returns_ > 0 ? ", again after it went back to a sound checkpoint" : "", ": ", why_, ".");
  report += "\nThe last updates:";
  for (const UpdateResult& u : divergence_.history()) {
    static constexpr const char* kOutcomes[] = {"applied", "clipped", "left out for its norm", "left out, not finite"};
    report += fmt::format("\n  pass {}: loss {:.6g}, learning rate {:.4g}, gradient norm {:.6g}, {}{}", u.pass, u.loss, u.learning_rate, u.scalars.norm,
                          kOutcomes[int(u.scalars.outcome)], u.bad_segment.empty() ? "" : ", first in the gradient of " + u.bad_segment);
  }
  if (!suspects_.empty()) report += "\nSamples of updates that were not finite:";
  for (const std::string& s : suspects_) report += "\n  " + s;
  const std::vector<std::filesystem::path> sound = points.sound(sound_before());
  report += sound.empty() ? std::string("\nThere is no sound checkpoint; the next start begins anew.") : "\nThe next start can go on from " + sound.front().string() + ".";
  if (aside > 0) report += text(" ", aside, aside == 1 ? " checkpoint" : " checkpoints", " of later passes now end in .unsound.");
  report += "\nWhat to try: " + options_.remedy;
  log_error(report);
  const UpdateResult last = divergence_.history().empty() ? UpdateResult{} : divergence_.history().back();
  log_.event("diverged", pass, {{"what", why_}, {"report", report}}, {{"lr", last.learning_rate}, {"grad_norm", last.scalars.norm}, {"rollbacks", double(returns_)}});
}

void RunReport::validation(std::int64_t pass, const ValidationResult& r) {
  if (!leader_) return;
  Metrics metrics = r.metrics;
  if (r.seconds > 0) metrics.emplace_back("seconds", r.seconds);
  log_.validation(pass, metrics, r.facts);
  std::string line = text("validation at pass ", pass, ", ", r.samples, " samples:");
  for (const auto& [name, value] : r.metrics) {
    line += fmt::format("  {} {:.4f}", name, value);
    events.scalar("val/" + name, pass, value);
  }
  if (r.seconds > 0) line += fmt::format("  ({:.1f} s)", r.seconds);
  log_info(line);
  for (const auto& [name, png] : r.images) events.image("images/val/" + name, pass, png.width, png.height, png.bytes);
  events.flush();
}

void RunReport::shown(const Showcase::Shown& s) {
  Facts facts = s.files;
  if (!s.error.empty()) facts.emplace_back("missing", s.error);
  log_.event("shown", s.pass, facts, {{"seconds", s.seconds}});
  for (const auto& [name, png] : s.images) events.image("images/val/" + name, s.pass, png.width, png.height, png.bytes);
  events.flush();
  // A disk that stays full is told once.
  if (!s.error.empty() && !std::exchange(told_missing_, true))
    log_warning("pictures or files of the validation at pass ", s.pass, " are missing: ", s.error, " Training goes on; the log says which are missing from now on.");
}

void RunReport::end(std::int64_t pass, const Spent& s) {
  if (!leader_) return;
  const double share = (s.validation + s.pictures) / std::max(s.all, 1e-9);
  log_.event("end", pass, {}, {{"seconds", s.all}, {"validation_seconds", s.validation}, {"pictures_seconds", s.pictures}, {"validation_share", share}, {"failed_checkpoints", double(failed_saves_)}});
  if (failed_saves_ > 0) log_warning(failed_saves_, failed_saves_ == 1 ? " checkpoint was" : " checkpoints were", " not written in this run; the log says which, and why");
  log_info(fmt::format("the loop ran for {:.1f} s; validation took {:.2f} s and pictures {:.2f} s of it, {:.1f} %{}", s.all, s.validation, s.pictures, 100 * share,
                       share > 0.05 ? " (fewer of mfl.val_samples, or a larger validation.val_every, make it less)" : ""));
}

void RunReport::validation_failed(std::int64_t pass, std::exception_ptr failure) {
  if (!leader_) return;
  const std::string what = cause_of(failure);
  log_error("validation at pass ", pass, " failed; the run ends after the checkpoint of this pass. ", what);
  log_.event("validation_failed", pass, {{"what", what}});
}

void RunReport::saved(const SavedCheckpoint& c) {
  points.add(c.number, c.path);
  log_info("checkpoint ", c.path.string(), ", ", human_bytes(c.bytes),
           fmt::format(", {} in {:.2f} s; training waited {:.3f} s", c.verified ? "written and read back" : "written", c.write_seconds, c.stall_seconds));
  log_.event("checkpoint", c.number, {{"path", c.path.string()}, {"verified", c.verified ? "yes" : "no"}},
             {{"stall_seconds", c.stall_seconds}, {"write_seconds", c.write_seconds}, {"bytes", double(c.bytes)}});
}

SaveOptions save_options(RunReport& report, const std::string& on_failure, bool verify) {
  const bool go_on = on_failure == "continue";
  return {.done = [&report](const SavedCheckpoint& c) { report.saved(c); },
          .failed = [&report, go_on](const FailedSave& f) { report.save_failed(f, go_on); },
          .go_on = go_on, .verify = verify};
}

void RunReport::save_failed(const FailedSave& f, bool go_on) {
  if (f.not_finite) {
    refused_ = f.number, refusal_ = f.why;
    log_error("checkpoint ", f.path.string(), " was refused: ", f.why);
    log_.event("checkpoint_refused", f.number, {{"path", f.path.string()}, {"what", f.why}});
    return;
  }
  ++failed_saves_;
  log_error("checkpoint ", f.path.string(), " was not saved: ", f.why,
            go_on ? " Training goes on (mfl.on_checkpoint_failure: continue); what is learnt until the next checkpoint is at risk."
                  : " The run ends here (mfl.on_checkpoint_failure: stop); the next start goes on from the newest checkpoint.");
  log_.event("checkpoint_failed", f.number, {{"path", f.path.string()}, {"what", f.why}}, {{"failed", double(failed_saves_)}});
}

}  // namespace mfl
