#include "train/run_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "runtime/log.h"
#include "train/agreed_failure.h"
#include "train/memory_plan.h"

namespace mfl {

RunReport::RunReport(bool leader, ReportOptions o) : leader_(leader), options_(std::move(o)), progress_(leader, options_.print_every) {
  if (!leader_) return;
  log_ = RunLog(options_.folder);
  events = EventWriter(options_.folder);
}

void RunReport::start(const RunHeader& h) {
  first_ = h.start_pass, total_ = h.total_passes;
  if (leader_) log_.start(h);
}

bool RunReport::update(std::int64_t pass, double learning_rate, const StepScalars& s, const std::string& bad_segment,
                       const std::function<void(StepRecord&)>& fill) {
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
    const std::string what = bad_segment.empty() ? "the loss is not finite" : "the gradient of " + bad_segment + " is not finite";
    log_warning("pass ", pass, ": ", what, "; the update was left out, the weights are unchanged");
    log_.event("non_finite", pass, {{"what", what}});
  }
  if (leader_)
    if (const auto alarm = ledger_.alarm(options_.clip_norm, options_.allowed_factor)) {
      log_warning(*alarm);
      log_.event("alarm", pass, {{"what", *alarm}});
    }
  if (ledger_.skipped_in_a_row() < options_.max_skipped) return true;
  log_error(ledger_.skipped_in_a_row(), " updates in a row were not applied (mfl.max_skipped). The weights are those of update ", s.updates,
            ". ", options_.remedy);
  return false;
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
  ++failed_saves_;
  log_error("checkpoint ", f.path.string(), " was not saved: ", f.why,
            go_on ? " Training goes on (mfl.on_checkpoint_failure: continue); what is learnt until the next checkpoint is at risk."
                  : " The run ends here (mfl.on_checkpoint_failure: stop); the next start goes on from the newest checkpoint.");
  log_.event("checkpoint_failed", f.number, {{"path", f.path.string()}, {"what", f.why}}, {{"failed", double(failed_saves_)}});
}

}  // namespace mfl
