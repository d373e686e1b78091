#include <algorithm>

#include "data/doctor/diagnosis.h"

namespace mfl::data::doctor {
namespace {

struct Equation {
  std::size_t frame, i, j;
};

// Parameters: log of the common focal factor, then per camera: log of its own factor, cx and cy relative to the width.
class Problem {
 public:
  explicit Problem(const Evidence& e) : e_(e), rig_(e.frames[0].cameras), unit_(rig_[0].width / 512.0) {
    for (std::size_t f = 0; f < e.frames.size(); ++f) {
      if (e.frames[f].cameras != rig_) continue;
      for (std::size_t i = 0; i < rig_.size(); ++i)
        for (std::size_t j = i + 1; j < rig_.size(); ++j)
          if (tangency(rig_[i], *e.frames[f].outlines[i], rig_[j], *e.frames[f].outlines[j], 0.5))
            pairs_.push_back({f, i, j});
    }
  }
  std::size_t parameters() const { return 1 + 3 * rig_.size(); }
  std::size_t pairs() const { return pairs_.size(); }
  double unit() const { return unit_; }

  Pinhole camera(std::size_t i, const std::vector<double>& p) const {
    Pinhole c = rig_[i];
    const double* own = &p[1 + 3 * i];
    const double factor = std::exp(p[0] + own[0]);
    c.fx *= factor, c.fy *= factor, c.skew *= factor;
    c.cx += own[1] * c.width, c.cy += own[2] * c.width;
    return c;
  }
  // Pixels of a 512-wide image. Pairs are chosen well off the baseline, so that they stay usable while cameras change;
  // an equation that the parameters made impossible counts as the limit.
  void pair_residuals(const Equation& q, const Pinhole& a, const Pinhole& b, double* r) const {
    const auto t = tangency(a, *e_.frames[q.frame].outlines[q.i], b, *e_.frames[q.frame].outlines[q.j], 0.2);
    for (int k = 0; k < 2; ++k) r[k] = t ? std::clamp((*t)[k] / unit_, -kFar, kFar) : kFar;
  }
  std::vector<double> residuals(const std::vector<double>& p) const {
    std::vector<Pinhole> c;
    for (std::size_t i = 0; i < rig_.size(); ++i) c.push_back(camera(i, p));
    std::vector<double> r(2 * pairs_.size());
#pragma omp parallel for schedule(static)
    for (std::size_t k = 0; k < pairs_.size(); ++k)
      pair_residuals(pairs_[k], c[pairs_[k].i], c[pairs_[k].j], &r[2 * k]);
    return r;
  }
  // [equation][parameter], by central differences; only the two cameras of an equation and the common factor matter.
  std::vector<double> jacobian(const std::vector<double>& p) const {
    const std::size_t m = parameters();
    std::vector<double> jac(2 * pairs_.size() * m, 0);
#pragma omp parallel for schedule(static)
    for (std::size_t k = 0; k < pairs_.size(); ++k) {
      const Equation& q = pairs_[k];
      const auto column = [&](std::size_t at) {
        std::vector<double> moved = p;
        double up[2], down[2];
        moved[at] = p[at] + kStep;
        pair_residuals(q, camera(q.i, moved), camera(q.j, moved), up);
        moved[at] = p[at] - kStep;
        pair_residuals(q, camera(q.i, moved), camera(q.j, moved), down);
        for (std::size_t n = 0; n < 2; ++n) jac[(2 * k + n) * m + at] = (up[n] - down[n]) / (2 * kStep);
      };
      column(0);
      for (std::size_t own = 0; own < 3; ++own) column(1 + 3 * q.i + own), column(1 + 3 * q.j + own);
    }
    return jac;
  }
  static double prior_sigma(std::size_t at) { return at == 0 ? 1.0 : (at - 1) % 3 == 0 ? 0.03 : 0.12; }

  static constexpr double kFar = 200;

 private:
  static constexpr double kStep = 1e-4;
  const Evidence& e_;
  const std::vector<Pinhole>& rig_;  // of the first frame; frames with other cameras are not used
  double unit_;
  std::vector<Equation> pairs_;
};

// Solves the symmetric positive definite m x m system in place by Cholesky; false where it is not.
bool solve(std::vector<double> a, std::vector<double>& b) {
  const std::size_t m = b.size();
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      double s = a[i * m + j];
      for (std::size_t k = 0; k < j; ++k) s -= a[i * m + k] * a[j * m + k];
      if (i == j && !(s > 0)) return false;
      a[i * m + j] = i == j ? std::sqrt(s) : s / a[j * m + j];
    }
  }
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t k = 0; k < i; ++k) b[i] -= a[i * m + k] * b[k];
    b[i] /= a[i * m + i];
  }
  for (std::size_t i = m; i-- > 0;) {
    for (std::size_t k = i + 1; k < m; ++k) b[i] -= a[k * m + i] * b[k];
    b[i] /= a[i * m + i];
  }
  return true;
}

// Huber's loss with the given knee, of pixels; plus the priors.
double cost(const std::vector<double>& r, const std::vector<double>& p, double knee) {
  double sum = 0;
  for (double v : r) sum += std::abs(v) <= knee ? 0.5 * v * v : knee * (std::abs(v) - 0.5 * knee);
  for (std::size_t i = 0; i < p.size(); ++i)
    sum += 0.5 * (p[i] / Problem::prior_sigma(i)) * (p[i] / Problem::prior_sigma(i));
  return sum;
}

struct Fit {
  std::vector<double> parameters;
  double cost = 0, sigma_common = 0;
};

// Levenberg-Marquardt with reweighting; the knee falls to the size of what remains.
Fit fit(const Problem& problem, double start) {
  const std::size_t m = problem.parameters();
  Fit f;
  f.parameters.assign(m, 0);
  f.parameters[0] = start;
  std::vector<double> r = problem.residuals(f.parameters), normal(m * m);
  double damping = 1e-3, knee = 50;
  for (int iteration = 0; iteration < 25; ++iteration) {
    std::vector<double> sizes;
    for (double v : r) sizes.push_back(std::abs(v));
    knee = std::max(1.5, 2 * median(sizes));
    f.cost = cost(r, f.parameters, knee);
    const std::vector<double> jac = problem.jacobian(f.parameters);
    std::vector<double> gradient(m, 0);
    std::fill(normal.begin(), normal.end(), 0);
    for (std::size_t k = 0; k < r.size(); ++k) {
      const double weight = std::abs(r[k]) <= knee ? 1 : knee / std::abs(r[k]);
      const double* row = &jac[k * m];
      for (std::size_t i = 0; i < m; ++i) {
        if (row[i] == 0) continue;
        gradient[i] -= weight * row[i] * r[k];
        for (std::size_t j = 0; j <= i; ++j) normal[i * m + j] += weight * row[i] * row[j];
      }
    }
    for (std::size_t i = 0; i < m; ++i) {
      const double s = Problem::prior_sigma(i);
      normal[i * m + i] += 1 / (s * s);
      gradient[i] -= f.parameters[i] / (s * s);
      for (std::size_t j = 0; j < i; ++j) normal[j * m + i] = normal[i * m + j];
    }
    bool better = false;
    for (int attempt = 0; attempt < 6 && !better; ++attempt) {
      std::vector<double> damped = normal, step = gradient;
      for (std::size_t i = 0; i < m; ++i) damped[i * m + i] *= 1 + damping;
      if (!solve(damped, step)) break;
      std::vector<double> next = f.parameters;
      for (std::size_t i = 0; i < m; ++i) next[i] += std::clamp(step[i], -0.3, 0.3);
      const std::vector<double> moved = problem.residuals(next);
      const double value = cost(moved, next, knee);
      if (value < f.cost) {
        better = true;
        const bool done = f.cost - value < 1e-5 * f.cost;
        f.parameters = next, r = moved, f.cost = value;
        damping = std::max(damping / 5, 1e-9);
        if (done) iteration = 1000;
      } else {
        damping *= 6;
      }
    }
    if (!better) break;
  }
  f.cost = cost(r, f.parameters, 3);
  std::vector<double> first(m, 0);
  first[0] = 1;
  if (solve(normal, first)) f.sigma_common = std::sqrt(std::max(first[0], 0.0));
  return f;
}

}  // namespace

std::optional<ImpliedIntrinsics> imply_intrinsics(const Evidence& e) {
  if (e.views() < 3) return {};
  const Problem problem(e);
  if (2 * problem.pairs() < problem.parameters()) return {};
  Fit best = fit(problem, 0);
  for (double start : {-0.35, 0.35})
    if (Fit other = fit(problem, start); other.cost < best.cost) best = std::move(other);
  ImpliedIntrinsics found;
  const auto typical = [&](const std::vector<double>& p) {
    std::vector<double> sizes;
    for (double v : problem.residuals(p)) sizes.push_back(problem.unit() * std::abs(v));
    return median(sizes);
  };
  found.before = typical(std::vector<double>(problem.parameters(), 0)), found.after = typical(best.parameters);
  found.common_ratio = std::exp(-best.parameters[0]), found.common_sigma = found.common_ratio * best.sigma_common;
  for (std::size_t i = 0; i < e.views(); ++i) {
    const Pinhole &was = e.frames[0].cameras[i], is = problem.camera(i, best.parameters);
    found.cameras.push_back(is);
    found.focal_ratio.push_back(was.fx / is.fx);
    const double dx = was.cx - is.cx, dy = was.cy - is.cy;
    found.principal_error.push_back(std::hypot(dx, dy));
    found.ray_error_degrees.push_back(degrees(std::atan(std::hypot(dx / is.fx, dy / is.fy))));
    if (found.principal_error[i] > found.principal_error[static_cast<std::size_t>(found.worst)])
      found.worst = static_cast<int>(i);
  }
  return found;
}

}  // namespace mfl::data::doctor
