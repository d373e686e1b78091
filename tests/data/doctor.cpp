// The doctor against rigs that are right, and wrong in every way that has happened: silhouettes of ellipsoids are
// rendered here with the true cameras, and shown to the doctor with the declared ones.
#include <fstream>

#include "data/doctor/page.h"
#include "data/image_file.h"
#include "data/pack.h"
#include "support.h"
#include "tests/support/shared_files.h"

namespace mfl::data::doctor {
namespace {

using mfl::data::test::TempFolder;

Mat4 pose(const Vec3& right, const Vec3& down, const Vec3& forward, const Vec3& centre) {
  return {right[0],   right[1],   right[2],   -dot(right, centre),   down[0], down[1], down[2], -dot(down, centre),
          forward[0], forward[1], forward[2], -dot(forward, centre), 0,       0,       0,       1};
}

// Six cameras about the origin, Z up, not quite regular.
std::vector<Pinhole> ring_of_six(int size = 256) {
  std::vector<Pinhole> rig;
  const double azimuth[6] = {0, 63, 117, 176, 235, 300}, elevation[6] = {5, 20, 8, 6, 18, 22},
               radius[6] = {2.6, 2.8, 2.7, 2.6, 2.75, 2.75};
  for (int i = 0; i < 6; ++i) rig.push_back(pinhole(ring_camera(azimuth[i], elevation[i], radius[i], 50, size)));
  return rig;
}

// The published rig of the mouse recordings (position in millimetres, K at 1152 x 1024 with pixel centres at integers).
struct Calibrated {
  double fx, fy, skew, cx, cy;
  Vec3 centre, right, down, forward;
};
const Calibrated kMouseRig[6] = {
    {1632.3061523,
     1639.3045654,
     -5.815297,
     601.349188,
     491.217489,
     {-199.477349, -129.337107, 63.443107},
     {0.576921812303, -0.816680821555, -0.013916112746},
     {0.002681321598, 0.018930874072, -0.999817199553},
     {0.816794976113, 0.576779037164, 0.013111418104}},
    {1556.7563477,
     1580.4632568,
     1.388838,
     622.026295,
     417.537482,
     {321.647149, 216.840347, 145.930541},
     {-0.497060355897, 0.867231016726, 0.029006313528},
     {0.190702520998, 0.141791570991, -0.971353539594},
     {-0.846500768506, -0.477289758977, -0.235862109917}},
    {1630.3300781,
     1632.9549561,
     -0.912435,
     611.417411,
     477.649624,
     {24.045068, 355.810539, 71.192042},
     {-0.998116293585, -0.057544041028, -0.021273171442},
     {0.020385411308, 0.015970825355, -0.999664627634},
     {0.057864492452, -0.998215215312, -0.014767682064}},
    {1606.1673584,
     1617.5710449,
     -5.889512,
     582.612308,
     551.852658,
     {327.635097, -65.299684, 63.265115},
     {0.396494635908, 0.917996602523, 0.008616347962},
     {0.016853756736, 0.002105324680, -0.999855748842},
     {-0.917882320660, 0.396582658930, -0.014636941481}},
    {1618.3131104,
     1628.9042969,
     -1.271208,
     641.536799,
     453.235887,
     {-230.388902, 167.364157, 142.220620},
     {-0.410331979145, -0.911912953406, 0.006514008133},
     {-0.253173904823, 0.107052174075, -0.961479488051},
     {0.876088260855, -0.396174958114, -0.274799493733}},
    {1636.8889160,
     1642.4608154,
     -4.925929,
     613.285802,
     524.259263,
     {114.570859, -236.278663, 156.540205},
     {0.981471724055, 0.190932501155, -0.016063464250},
     {0.056990222520, -0.370935536848, -0.926908270564},
     {-0.182935424175, 0.908818797949, -0.374944026590}},
};

// What the published conversion makes of it: the middle 1024 columns at half size, the world scaled so that the cameras
// are 2.7 from the raw origin on average. `declared`: with its invented intrinsics instead of the true ones.
std::vector<Pinhole> published_conversion(bool declared) {
  double mean = 0;
  for (const Calibrated& c : kMouseRig) mean += length(c.centre) / 6;
  std::vector<Pinhole> rig;
  for (const Calibrated& c : kMouseRig) {
    Pinhole p;
    p.width = p.height = 512;
    p.w2c = pose(c.right, c.down, c.forward, (2.7 / mean) * c.centre);
    if (declared)
      p.fx = p.fy = 548.9937744140625, p.cx = p.cy = 256;
    else
      p.fx = c.fx / 2, p.fy = c.fy / 2, p.skew = c.skew / 2, p.cx = (c.cx + 0.5 - 64) / 2, p.cy = (c.cy + 0.5) / 2;
    rig.push_back(p);
  }
  return rig;
}

struct Ellipsoid {
  Vec3 centre, half;
};
// A body, a head, an ear and a tail's end, turned about Z and moved.
std::vector<Ellipsoid> animal(const Vec3& at, double turn) {
  const auto place = [&](double x, double y, double z, double r, double s, double t) {
    const double c = std::cos(turn), q = std::sin(turn);
    return Ellipsoid{at + Vec3{c * x - q * y, q * x + c * y, z}, {r, s, t}};
  };
  return {place(0, 0, 0, 0.26, 0.2, 0.16), place(0.26, 0.03, 0.1, 0.13, 0.12, 0.11),
          place(0.27, 0.1, 0.19, 0.05, 0.06, 0.08), place(-0.34, -0.03, -0.02, 0.16, 0.06, 0.05)};
}

ViewPixels render(const Pinhole& c, const std::vector<Ellipsoid>& parts) {
  ViewPixels view;
  view.image = Image(c.width, c.height, 4);
  const RayMap rays(c);
  for (int y = 0; y < c.height; ++y)
    for (int x = 0; x < c.width; ++x) {
      const Vec3 d = rays.ray({x + 0.5, y + 0.5});
      bool hit = false;
      for (const Ellipsoid& e : parts) {
        Vec3 o = rays.origin - e.centre, f = d;
        for (int k = 0; k < 3; ++k) o[k] /= e.half[k], f[k] /= e.half[k];
        const double a = dot(f, f), b = dot(o, f), q = dot(o, o) - 1;
        hit |= b < 0 && b * b > a * q;
      }
      std::uint8_t* p = view.image.row(y) + 4 * x;
      if (hit) p[0] = 150, p[1] = static_cast<std::uint8_t>(90 + x % 40), p[2] = 60, p[3] = 255;
    }
  view.outline = silhouette(view.image);
  return view;
}

// Images by the true cameras, declared as `declared`, in some moments of a walk about `middle`.
Subject subject(const std::vector<Pinhole>& truth, const std::vector<Pinhole>& declared, const Vec3& middle = {},
                int moments = 4, double reach = 0.22) {
  Subject s;
  s.path = "synthetic";
  for (int n = 0; n < moments; ++n) {
    const double a = 1.7 * n;
    const std::vector<Ellipsoid> parts =
        animal(middle + Vec3{reach * std::cos(a), reach * std::sin(a), 0.05 * (n % 5) - 0.1}, 2.1 * n);
    SampleRecord record;
    record.name = text("sample ", n), record.raw_frame = 100 * n;
    SamplePixels pixels;
    pixels.sample = s.samples.size();
    for (std::size_t v = 0; v < truth.size(); ++v) {
      record.views.push_back({text("cam_00", v), declared[v], -1});
      pixels.views.push_back(render(truth[v], parts));
    }
    s.samples.push_back(std::move(record)), s.examined.push_back(std::move(pixels));
  }
  s.total = moments;
  return s;
}
Subject subject(const std::vector<Pinhole>& rig) { return subject(rig, rig); }

std::string lines(const Findings& all) {
  std::string s;
  for (const Finding& f : all) s += one_line(f) + "\n";
  return s;
}
::testing::AssertionResult unsound_with(const Examination& e, std::initializer_list<const char*> parts) {
  if (e.is_sound()) return ::testing::AssertionFailure() << "found sound:\n" << lines(e.findings);
  for (const Finding& f : e.findings) {
    const std::string line = one_line(f);
    if (f.severity == Severity::error &&
        std::all_of(parts.begin(), parts.end(), [&](const char* p) { return line.find(p) != std::string::npos; }))
      return ::testing::AssertionSuccess();
  }
  return ::testing::AssertionFailure() << "no error names it:\n" << lines(e.findings);
}

TEST(Doctor, ATrueRigIsSound) {
  const Examination e = examine(subject(ring_of_six()));
  EXPECT_TRUE(e.is_sound()) << lines(e.findings);
  EXPECT_GT(e.geometry.worst_iou, 0.97);
  EXPECT_LT(e.geometry.worst_centroid, 1.0);
  EXPECT_LT(e.geometry.equations.median, 0.5);
  EXPECT_EQ(e.rig.up_axis, 'Z');
  EXPECT_NEAR(e.rig.mean_origin_distance, 2.7, 0.01);
  EXPECT_EQ(e.rig.ring, (std::vector<int>{0, 1, 2, 3, 4, 5}));
}

TEST(Doctor, NamesADeterminantOfMinusOne) {
  std::vector<Pinhole> wrong = ring_of_six();
  for (Pinhole& c : wrong)
    for (int k = 0; k < 4; ++k) c.w2c[8 + k] = -c.w2c[8 + k];
  const Examination e = examine(subject(ring_of_six(), wrong));
  EXPECT_TRUE(unsound_with(e, {"determinant -1", "all 6 cameras"}));
  EXPECT_TRUE(unsound_with(e, {"animal is behind the camera"}));
  EXPECT_TRUE(unsound_with(e, {"z axis is mirrored"}));
}

TEST(Doctor, NamesAWorldThatIsYUp) {
  std::vector<Pinhole> rig = ring_of_six();  // x' = x, y' = z, z' = -y
  for (Pinhole& c : rig)
    for (int r = 0; r < 3; ++r) {
      const double y = c.w2c[4 * r + 1], z = c.w2c[4 * r + 2];
      c.w2c[4 * r + 1] = z, c.w2c[4 * r + 2] = -y;
    }
  const Examination e = examine(subject(rig));
  EXPECT_TRUE(unsound_with(e, {"the world is Y-up, not Z-up"}));
  EXPECT_GT(e.geometry.worst_iou, 0.97);  // nothing else is wrong
  ExamineOptions turned;
  turned.rig.normalised_later = true;
  EXPECT_TRUE(examine(subject(rig), turned).is_sound());
}

TEST(Doctor, NamesThePermutationOfTheImages) {
  const std::vector<Pinhole> rig = ring_of_six();
  Subject s = subject(rig);
  for (SamplePixels& p : s.examined) std::swap(p.views[1], p.views[4]);
  EXPECT_TRUE(unsound_with(examine(s), {"another order than the cameras", "0, 4, 2, 3, 1, 5"}));
}

TEST(Doctor, NamesMillimetresMetresAndMixedUnits) {
  const auto scaled = [](double factor, int only = -1) {
    std::vector<Pinhole> rig = ring_of_six(128);
    for (int i = 0; i < 6; ++i)
      for (int r = 0; r < 3; ++r)
        if (only < 0 || only == i) rig[static_cast<std::size_t>(i)].w2c[4 * r + 3] *= factor;
    return rig;
  };
  EXPECT_TRUE(unsound_with(examine(subject(ring_of_six(128), scaled(120))), {"in millimetres", "324"}));
  EXPECT_TRUE(unsound_with(examine(subject(ring_of_six(128), scaled(0.12))), {"in metres", "0.324"}));
  EXPECT_TRUE(unsound_with(examine(subject(ring_of_six(128), scaled(1000, 2))), {"two units", "camera 2"}));
  Subject recording = subject(ring_of_six(128), scaled(0.12));
  recording.kind = SubjectKind::recording;
  EXPECT_NE(lines(examine(recording).findings).find("in metres, not millimetres"), std::string::npos);
}

TEST(Doctor, NamesTransposedRotationsInvertedMatricesAndForeignAxes) {
  std::vector<Pinhole> transposed = ring_of_six(), inverted = ring_of_six(), opengl = ring_of_six();
  for (int i = 0; i < 6; ++i) {
    const std::size_t n = static_cast<std::size_t>(i);
    for (int r = 0; r < 3; ++r)
      for (int c = r + 1; c < 3; ++c) std::swap(transposed[n].w2c[4 * r + c], transposed[n].w2c[4 * c + r]);
    inverted[n].w2c = inverse(inverted[n].w2c);
    for (int k = 4; k < 12; ++k) opengl[n].w2c[k] = -opengl[n].w2c[k];
  }
  EXPECT_TRUE(unsound_with(examine(subject(ring_of_six(), transposed)), {"rotations are stored transposed"}));
  EXPECT_TRUE(unsound_with(examine(subject(ring_of_six(), inverted)), {"camera to world, not world to camera"}));
  EXPECT_TRUE(unsound_with(examine(subject(ring_of_six(), opengl)), {"OpenGL"}));
}

TEST(Doctor, FindsTheIntrinsicsThatThePublishedConversionInvents) {
  const Vec3 middle{0.5, 0.45, 0.25};
  const std::vector<Pinhole> truth = published_conversion(false), declared = published_conversion(true);
  EXPECT_TRUE(examine(subject(truth, truth, middle)).is_sound());
  const Examination e = examine(subject(truth, declared, middle, 8, 0.4));
  EXPECT_TRUE(unsound_with(e, {"declared focal length is 0.6", " to 0.7", "of the one that the images imply"}));
  EXPECT_TRUE(unsound_with(e, {"declared principal points are", "px off", "worst: camera 1"}));
  EXPECT_TRUE(unsound_with(e, {"visual hull does not fill"}));
  ASSERT_TRUE(e.geometry.intrinsics);
  EXPECT_LT(e.geometry.intrinsics->after, 1) << e.geometry.intrinsics->before;
  EXPECT_NEAR(e.geometry.intrinsics->common_ratio, 0.678, 0.02);
  for (std::size_t i = 0; i < 6; ++i) {
    const Pinhole &found = e.geometry.intrinsics->cameras[i], &was = truth[i];
    EXPECT_NEAR(found.fx / was.fx, 1, 0.04) << i;
    EXPECT_NEAR(found.cx, was.cx, 4) << i;
    EXPECT_NEAR(found.cy, was.cy, 4) << i;
  }
  EXPECT_EQ(e.geometry.intrinsics->worst, 1);
  EXPECT_NEAR(e.geometry.intrinsics->principal_error[1], 52.5, 5);
}

TEST(Doctor, FindsTheOneCameraThatWasTurned) {
  std::vector<Pinhole> wrong = ring_of_six();
  const double c = std::cos(0.05), q = std::sin(0.05);  // 3 degrees up
  for (int k = 0; k < 4; ++k) {
    const double y = wrong[2].w2c[4 + k], z = wrong[2].w2c[8 + k];
    wrong[2].w2c[4 + k] = c * y + q * z, wrong[2].w2c[8 + k] = c * z - q * y;
  }
  const Examination e = examine(subject(ring_of_six(), wrong));
  EXPECT_TRUE(unsound_with(e, {"one camera does not fit", "camera 2"}));
}

TEST(Doctor, SaysWhereThePromptsOfTheMouseRigPoint) {
  const std::vector<Pinhole> rig = published_conversion(false);
  Subject s = subject(rig, rig, {0.38, 0.4, 0.49});  // where the optical axes meet
  const Examination e = examine(s);
  ASSERT_TRUE(e.slots);
  EXPECT_FALSE(e.slots->assigned);
  EXPECT_NEAR(e.slots->largest, 149, 4);
  EXPECT_EQ(e.slots->best_camera, (std::array<int, 6>{0, 4, 2, 1, 3, 5}));
  EXPECT_NEAR(e.slots->best_largest, 32, 5);
  EXPECT_NE(lines(e.findings).find("0, 4, 2, 1, 3, 5"), std::string::npos);
  const std::array<int, 6> slot{0, 3, 2, 4, 1, 5};  // of each camera
  for (SampleRecord& r : s.samples)
    for (std::size_t v = 0; v < 6; ++v) r.views[v].prompt_slot = slot[v];
  const Examination assigned = examine(s);
  EXPECT_TRUE(assigned.slots->assigned);
  EXPECT_EQ(lines(assigned.findings).find("prompt"), std::string::npos) << lines(assigned.findings);
}

TEST(Doctor, LooksAtMasksAndColours) {
  const std::vector<Pinhole> rig = ring_of_six(96);
  const auto changed = [&](auto&& change) {
    Subject s = subject(rig);
    for (SamplePixels& p : s.examined)
      for (std::size_t v = 0; v < p.views.size(); ++v) {
        change(p.views[v].image, v);
        p.views[v].outline = silhouette(p.views[v].image);
      }
    return examine(s);
  };
  EXPECT_TRUE(unsound_with(changed([](Image& im, std::size_t) {
                             for (std::size_t i = 3; i < im.pixels.size(); i += 4) im.pixels[i] = 255 - im.pixels[i];
                           }),
                           {"alpha looks inverted"}));
  EXPECT_TRUE(unsound_with(changed([](Image& im, std::size_t) {
                             for (std::size_t i = 3; i < im.pixels.size(); i += 4) im.pixels[i] = 255;
                           }),
                           {"opaque everywhere"}));
  EXPECT_TRUE(unsound_with(changed([](Image& im, std::size_t) {
                             for (std::size_t i = 0; i < im.pixels.size(); ++i)
                               if (i % 4 != 3) im.pixels[i] = im.pixels[i] > 99;
                           }),
                           {"written as floats"}));
  const Examination empty = changed([](Image& im, std::size_t v) {
    if (v == 3) std::fill(im.pixels.begin(), im.pixels.end(), std::uint8_t{0});
  });
  EXPECT_NE(lines(empty.findings).find("without any foreground (view 3, 4 of 24"), std::string::npos)
      << lines(empty.findings);

  std::vector<Pinhole> zoomed = rig;
  for (Pinhole& c : zoomed) c.fx *= 3.4, c.fy *= 3.4;
  const Examination clipped = examine(subject(zoomed));
  EXPECT_TRUE(clipped.is_sound()) << lines(clipped.findings);  // true, only cut
  EXPECT_NE(lines(clipped.findings).find("image border cuts the animal"), std::string::npos);
}

TEST(Doctor, SeesLeakageBetweenSplits) {
  Subject s;
  for (int i = 0; i < 200; ++i) {
    SampleRecord r;
    r.name = text(i), r.raw_frame = 5 * i, r.split = i % 10 == 3 ? Split::val : Split::train;
    r.fingerprint = i == 13 ? "pixels 12" : text("pixels ", i);
    s.samples.push_back(r);
  }
  s.total = 200;
  const std::string random = lines(check_splits(s, examine_splits(s)));
  EXPECT_NE(random.find("near-copies in training"), std::string::npos) << random;
  EXPECT_NE(random.find("both in training and in validation or test (1 samples, such as 12 and 13)"), std::string::npos)
      << random;
  for (int i = 0; i < 200; ++i)
    s.samples[static_cast<std::size_t>(i)].split = i < 150 ? Split::train : Split::val,
    s.samples[static_cast<std::size_t>(i)].raw_frame = 5 * i + (i < 150 ? 0 : 100);
  const std::string blocks = lines(check_splits(s, examine_splits(s)));
  EXPECT_EQ(blocks.find("near-copies"), std::string::npos) << blocks;
  EXPECT_NE(blocks.find("samples with equal pixels"), std::string::npos) << blocks;
}

TEST(Doctor, ReadsFoldersThatPackingWouldRefuse) {
  if (!have_image_files()) GTEST_SKIP() << "built without OpenCV";
  const TempFolder folder;
  std::ofstream list(folder / "data_train.txt");
  const std::vector<Pinhole> rig = ring_of_six(96);
  const Subject s = subject(rig);
  for (std::size_t n = 0; n < s.examined.size(); ++n) {
    Sample sample;
    sample.name = text("sample_", n);
    for (std::size_t v = 0; v < rig.size(); ++v) {
      View view;
      view.name = text("cam_00", v), view.image = s.examined[n].views[v].image;
      Camera& c = view.camera;
      c.width = c.height = 96, c.fx = rig[v].fx, c.fy = rig[v].fy, c.cx = rig[v].cx, c.cy = rig[v].cy,
      c.w2c = rig[v].w2c;
      for (int k = 8; k < 12; ++k) c.w2c[k] = -c.w2c[k];
      sample.views.push_back(std::move(view));
    }
    write_sample(folder / sample.name, sample);
    list << sample.name << "\n";
  }
  list << "sample_missing\n";
  list.close();
  const Subject opened = open_subject(folder / "data_train.txt");
  EXPECT_EQ(opened.total, 5);
  EXPECT_EQ(opened.examined.size(), 4u);
  const Examination e = examine(opened);
  EXPECT_TRUE(unsound_with(e, {"determinant -1"}));
  EXPECT_TRUE(unsound_with(e, {"a sample cannot be read", "sample_missing"}));
  EXPECT_EQ(verdict(e.findings).rfind("unsound: ", 0), 0u);
}

TEST(Doctor, QuickCheckPassesProceduralScenes) {
  const TempFolder folder;
  for (const auto& [views, size] : {std::pair{4, 16}, {7, 32}, {8, 64}}) {
    const ViewReader reader(test::make_file(folder, 4, views, size, text(views, ".h5")));
    const Findings found = quick_check(reader, {});
    EXPECT_TRUE(sound(found)) << views << " views of " << size << ":\n" << lines(found);
  }
}

TEST(Doctor, ThePageIsSelfContained) {
  const Subject s = subject(published_conversion(false), published_conversion(true), {0.5, 0.45, 0.25}, 8, 0.4);
  const std::string page = report_page(s, examine(s));
  for (const char* part : {"<!doctype html>", "unsound", "<svg", "data:image/png;base64,iVBORw0KGgo",
                           "declared focal length", "Intrinsics that the outlines imply", "front_right", "</html>"})
    EXPECT_NE(page.find(part), std::string::npos) << part;
  for (const char* part : {"http:", "https:", "<script", "<link", ">nan<"})
    EXPECT_EQ(page.find(part), std::string::npos) << part;
}

TEST(Doctor, FaceLiftsOwnSampleIsSound) {
  const auto list = mfl::test::shared_data_folder() / "facelift_sample/gslrm/data_gslrm_train.txt";
  if (!std::filesystem::exists(list) || !have_image_files()) GTEST_SKIP() << list << " is not there";
  const Examination e = examine(open_subject(list.string()));
  EXPECT_TRUE(e.is_sound()) << lines(e.findings);
  EXPECT_GT(e.geometry.worst_iou, 0.95);
  EXPECT_LT(e.geometry.worst_centroid, 2);
  EXPECT_EQ(e.pixels.views16, 32);
}

TEST(Doctor, TheMouseRecordingIsSound) {
  const auto folder = mfl::test::shared_data_folder() / "markerless_mouse_demo";
  if (!std::filesystem::exists(folder) || !have_image_files()) GTEST_SKIP() << folder << " is not there";
  SubjectOptions few;
  few.samples = 4, few.frames = 40;
  const Examination e = examine(open_subject(folder.string(), few));
  EXPECT_TRUE(e.is_sound()) << lines(e.findings);
  EXPECT_GT(e.geometry.worst_iou, 0.95);
  EXPECT_LT(e.geometry.worst_centroid, 2);
  EXPECT_EQ(e.slots->best_camera, (std::array<int, 6>{0, 4, 2, 1, 3, 5}));
}

}  // namespace
}  // namespace mfl::data::doctor
