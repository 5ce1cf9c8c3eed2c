// A scatter plot as one self-contained SVG file, for a browser, a README or a
// slide, on light and on dark ground.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lapidary::cli {

struct ScatterPlot {
  struct Point {
    std::string label;
    /// Shown by a viewer that has tooltips.
    std::string detail;
    double x = 0;
    double y = 0;
  };
  std::string title, xLabel, yLabel;
  /// Whether y has a logarithmic axis. A point at 0 or below stands at its
  /// lower end then, which says 0.
  bool logarithmic = false;
  std::vector<Point> points;
};

/// There must be a point, and all must be finite.
std::string renderSvg(const ScatterPlot &plot);

/// Where an axis has its numbers. The first and the last tick are its ends, and
/// `low` to `high` lies between them.
std::vector<double> axisTicks(double low, double high);
/// The same with steps of 1, 2 and 5 a decade, or fewer; `low` is above 0.
std::vector<double> logarithmicTicks(double low, double high);

/// For text and attributes; bytes that XML cannot hold become U+FFFD.
std::string escapeXml(std::string_view text);

} // namespace lapidary::cli
