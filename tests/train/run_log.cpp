#include "train/run_log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "train/progress.h"

namespace mfl {
namespace {
namespace fs = std::filesystem;
using Json = nlohmann::json;

StepRecord record() {
  StepRecord r;
  r.pass = 120, r.total_passes = 20000, r.update = 118, r.epoch = 0.5, r.learning_rate = 2.4e-6, r.grad_norm = 0.83;
  r.losses = {{"loss", 0.5}, {"l2_loss", 0.25}, {"ssim_loss", std::nan("")}};
  r.seconds_per_pass = 1.5, r.samples_per_second = 1.25, r.data_wait = 0.15;
  r.flops_per_second = 400e12, r.peak_flops = 989e12, r.memory_bytes = std::size_t{5} << 29;
  r.ledger = {.applied = 118, .clipped = 12, .norm_skip = 2, .non_finite = 1};
  return r;
}

TEST(RunLog, EveryLineIsAnObjectAndAResumedRunAppends) {
  const fs::path folder = fs::temp_directory_path() / ("mfl_run_log_" + std::to_string(::getpid()));
  {
    RunLog log(folder / "new");
    log.start({.config_path = "a.yaml", .start = "new", .more = {{"precision", "bf16"}}});
    log.step(record());
    log.validation(120, {{"psnr", 21.5}, {"lpips", 0.3}});
  }
  RunLog again(folder / "new");
  again.start({.config_path = "bad \xff utf-8", .start = "resumed from x", .start_pass = 120});
  std::ifstream in(again.path());
  std::vector<Json> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0]["event"], "start");
  EXPECT_EQ(lines[0]["precision"], "bf16");
  EXPECT_FALSE(lines[0]["commit"].get<std::string>().empty());
  EXPECT_EQ(lines[1]["l2_loss"], 0.25);
  EXPECT_TRUE(lines[1]["ssim_loss"].is_null());  // not a number
  EXPECT_EQ(lines[1]["ledger"]["clipped"], 12);
  EXPECT_NEAR(lines[1]["mfu"].get<double>(), 400.0 / 989, 1e-9);
  EXPECT_EQ(lines[2]["psnr"], 21.5);
  EXPECT_EQ(lines[3]["pass"], 120);
  fs::remove_all(folder);
}

TEST(RunLog, AFolderThatCannotBeWrittenStopsNothing) {
  RunLog log("/proc/no/such/folder");
  log.step(record());
}

TEST(RunLog, TheHashIsFnv1a) {
  EXPECT_EQ(content_hash(""), "cbf29ce484222325");
  EXPECT_EQ(content_hash("a"), "af63dc4c8601ec8c");
}

TEST(Progress, ALineSaysEverything) {
  EXPECT_EQ(
      progress_line(record()),
      "pass 120/20000 | lr 2.4e-06 | loss 0.50000 (l2_loss 0.25000, ssim_loss nan) | grad 0.83 | 1.25 samples/s | "
      "MFU 40.4 % of 989 TFLOP/s | data wait 10.0 % | 2.5 GiB | ETA 8 h 17 min | 118 applied (12 clipped), 2 skipped, "
      "1 non-finite");
}

TEST(Progress, DurationsReadNaturally) {
  EXPECT_EQ(duration_text(0.4), "0 s");
  EXPECT_EQ(duration_text(75), "1 min 15 s");
  EXPECT_EQ(duration_text(11533), "3 h 12 min");
  EXPECT_EQ(duration_text(3 * 86400 + 7200), "3 days 2 h");
  EXPECT_EQ(duration_text(std::nan("")), "unknown");
}

TEST(Progress, LinesComeEveryPrintEveryAtTheStartAndAtTheEnd) {
  const Progress p(false, 50);
  EXPECT_TRUE(p.due(3, 0, 1000));
  EXPECT_FALSE(p.due(13, 0, 1000));
  EXPECT_TRUE(p.due(100, 0, 1000));
  EXPECT_TRUE(p.due(503, 500, 1000));
  EXPECT_TRUE(p.due(77, 0, 77));
}

TEST(Progress, AMeterAveragesOverPassesAndStartsAnew) {
  PassMeter m;
  m.add(1.0, 0.1, 2);
  m.add(3.0, 0.3, 2);
  StepRecord r;
  m.take(r);
  EXPECT_DOUBLE_EQ(r.seconds_per_pass, 2.0);
  EXPECT_DOUBLE_EQ(r.samples_per_second, 1.0);
  EXPECT_DOUBLE_EQ(r.data_wait, 0.2);
  m.add(5.0, 0, 5);
  m.take(r);
  EXPECT_DOUBLE_EQ(r.seconds_per_pass, 5.0);
}

TEST(Progress, PeaksAreFoundByDeviceName) {
  EXPECT_EQ(peak_flops("NVIDIA H100 80GB HBM3", DType::bf16), 989e12);
  EXPECT_EQ(peak_flops("NVIDIA H100 PCIe", DType::bf16), 756e12);
  EXPECT_EQ(peak_flops("NVIDIA RTX A6000", DType::bf16), 154.8e12);
  EXPECT_EQ(peak_flops("NVIDIA A40", DType::bf16), 149.7e12);
  EXPECT_EQ(peak_flops("NVIDIA L40S", DType::bf16), 362e12);
  EXPECT_EQ(peak_flops("a toaster", DType::bf16), 0);
}

TEST(Ledger, CountsAndSpeaks) {
  UpdateLedger l;
  l.record(UpdateOutcome::applied, 1);
  l.record(UpdateOutcome::clipped, 5);
  l.record(UpdateOutcome::norm_skip, 50);
  l.record(UpdateOutcome::non_finite, std::nan(""));
  EXPECT_EQ(l.summary(), "2 applied (1 clipped), 1 skipped, 1 non-finite");
  EXPECT_EQ(l.skipped_in_a_row(), 2);
  l.record(UpdateOutcome::applied, 1);
  EXPECT_EQ(l.skipped_in_a_row(), 0);
  EXPECT_FALSE(l.alarm(1, 20).has_value()) << "too few updates to judge";
}

TEST(Ledger, ATenthOfTheWindowIsAllowedAndMoreIsAnAlarm) {
  UpdateLedger l;
  for (int i = 0; i < 90; ++i) l.record(UpdateOutcome::applied, 1);
  for (int i = 0; i < 10; ++i) l.record(UpdateOutcome::norm_skip, 30);
  EXPECT_FALSE(l.alarm(1, 20).has_value());
  l.record(UpdateOutcome::norm_skip, 30);
  const auto said = l.alarm(1, 20);
  ASSERT_TRUE(said.has_value());
  EXPECT_NE(said->find("11 of the last 100 updates were not applied: 11 with a gradient norm above 20 x 1"),
            std::string::npos)
      << *said;
  EXPECT_NE(said->find("allowed_gradnorm_factor of 36"), std::string::npos) << *said;
  EXPECT_FALSE(l.alarm(1, 20).has_value()) << "said already";
  for (int i = 0; i < 100; ++i) l.record(UpdateOutcome::non_finite, std::nan(""));
  EXPECT_TRUE(l.alarm(1, 20).has_value()) << "still true a window later";
}

}  // namespace
}  // namespace mfl
