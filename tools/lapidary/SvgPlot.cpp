// The picture is laid out in units of a pixel. Colors are classes, so that one
// media query turns the whole of it dark.
#include "tools/lapidary/SvgPlot.h"

#include "runtime/core/Text.h"
#include "runtime/model/Unicode.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace lapidary::cli {

namespace {

constexpr double width = 800, height = 500;
constexpr double left = 90, right = 770, top = 56, bottom = 430;
constexpr double radius = 5, fontSize = 13;
/// Wide enough for a letter of a usual sans serif font.
constexpr double letterWidth = 0.6 * fontSize;

constexpr const char *style = R"(<style>
text { font: 13px system-ui, sans-serif; fill: #24292f; }
.title { font-size: 16px; font-weight: 600; }
.tick { fill: #57606a; }
.ground { fill: #ffffff; }
.grid { stroke: #d8dee4; stroke-width: 1; }
.axis { stroke: #57606a; stroke-width: 1; }
.lead { stroke: #8c959f; stroke-width: 0.7; }
.point { fill: #0969da; stroke: #ffffff; stroke-width: 1; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .tick { fill: #9da7b1; }
  .ground { fill: #0d1117; }
  .grid { stroke: #2b323b; }
  .axis { stroke: #9da7b1; }
  .lead { stroke: #6e7681; }
  .point { fill: #58a6ff; stroke: #0d1117; }
}
</style>
)";

/// A coordinate.
std::string at(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f", value);
  return text;
}

/// A number beside a tick.
std::string number(double value) {
  char text[32];
  // Steps add up with rounding: 0.30000000000000004 is 0.3.
  std::snprintf(text, sizeof(text), "%.6g",
                std::abs(value) < 1e-12 ? 0 : value);
  return text;
}

struct Box {
  double left, top, right, bottom;

  bool meets(const Box &other) const {
    return left < other.right && other.left < right && top < other.bottom &&
           other.top < bottom;
  }
};

struct Placed {
  double x, y;
  const ScatterPlot::Point *point;
};

std::string textAt(double x, double y, const char *anchor, const char *kind,
                   std::string_view text) {
  return concat("<text x=\"", at(x), "\" y=\"", at(y), "\" text-anchor=\"",
                anchor, "\"", kind, ">", escapeXml(text), "</text>\n");
}

std::string line(double x1, double y1, double x2, double y2, const char *kind) {
  return concat("<line x1=\"", at(x1), "\" y1=\"", at(y1), "\" x2=\"", at(x2),
                "\" y2=\"", at(y2), "\" class=\"", kind, "\"/>\n");
}

/// Where a label may begin: beside its point, or further off, with a line that
/// leads to it.
struct Place {
  double left, baseline;
  bool far;
};

std::vector<Place> placesFor(double x, double y, double wide) {
  constexpr double gap = radius + 4;
  const double middle = x - wide / 2, above = y - gap,
               below = y + gap + fontSize - 3;
  std::vector<Place> places{
      {x + gap, y + 4, false},        {x - gap - wide, y + 4, false},
      {middle, above, false},         {middle, below, false},
      {x + gap, above, false},        {x + gap, below, false},
      {x - gap - wide, above, false}, {x - gap - wide, below, false}};
  constexpr double nearest = 20, farthest = 160, step = 12;
  constexpr int directions = 16;
  for (double distance = nearest; distance <= farthest; distance += step)
    for (int i = 0; i < directions; ++i) {
      const double angle = 2 * M_PI * i / directions;
      const double toX = x + distance * std::cos(angle),
                   toY = y + distance * std::sin(angle);
      places.push_back({std::cos(angle) < 0 ? toX - wide : toX, toY + 4, true});
    }
  return places;
}

/// Labels where they cover neither points nor each other, as far as there is
/// such a place.
std::string labels(const std::vector<Placed> &points) {
  std::vector<Box> taken;
  for (const Placed &point : points)
    taken.push_back({point.x - radius, point.y - radius, point.x + radius,
                     point.y + radius});
  std::string svg;
  for (const Placed &placed : points) {
    size_t letters = 0;
    for (std::string_view rest = placed.point->label; !rest.empty(); ++letters)
      rest.remove_prefix(readUtf8(rest).size);
    const double wide = static_cast<double>(letters) * letterWidth;
    const std::vector<Place> places = placesFor(placed.x, placed.y, wide);
    const auto boxOf = [&](const Place &place) {
      return Box{place.left, place.baseline - fontSize + 2, place.left + wide,
                 place.baseline + 3};
    };
    const auto isFree = [&](const Place &place) {
      const Box box = boxOf(place);
      return box.left >= left && box.right <= width && box.top >= top - 8 &&
             box.bottom <= bottom &&
             std::ranges::none_of(
                 taken, [&](const Box &other) { return box.meets(other); });
    };
    auto place = std::ranges::find_if(places, isFree);
    if (place == places.end())
      place = places.begin() + (places[0].left + wide <= width ? 0 : 1);
    const Box box = boxOf(*place);
    taken.push_back(box);
    if (place->far)
      svg += line(placed.x, placed.y, std::clamp(placed.x, box.left, box.right),
                  std::clamp(placed.y, box.top, box.bottom), "lead");
    svg +=
        textAt(place->left, place->baseline, "start", "", placed.point->label);
  }
  return svg;
}

} // namespace

std::vector<double> axisTicks(double low, double high) {
  // A single value, or what rounding makes of one, stands in the middle.
  if (!(high - low > 1e-9 * std::max(std::abs(low), std::abs(high)))) {
    const double margin = low == 0 ? 1 : std::abs(low) / 10;
    low -= margin;
    high += margin;
  }
  constexpr double wanted = 6;
  const double rough = (high - low) / wanted;
  const double decade = std::pow(10, std::floor(std::log10(rough)));
  const double lead = rough / decade;
  const double step = decade * (lead <= 1   ? 1
                                : lead <= 2 ? 2
                                : lead <= 5 ? 5
                                            : 10);
  const double first = std::floor(low / step), last = std::ceil(high / step);
  std::vector<double> ticks;
  for (double index = first; index <= last; ++index)
    ticks.push_back(index * step);
  return ticks;
}

std::vector<double> logarithmicTicks(double low, double high) {
  const int first = static_cast<int>(std::floor(std::log10(low)));
  const int last = static_cast<int>(std::floor(std::log10(high))) + 1;
  // A wide range has numbers at every decade, or every few.
  const int decades = last - first;
  const int stride = (decades + 9) / 10;
  std::vector<double> ticks;
  for (int decade = first; decade < last + stride; decade += stride) {
    const double power = std::pow(10, decade);
    ticks.push_back(power);
    if (decades <= 3 && decade < last) {
      ticks.push_back(2 * power);
      ticks.push_back(5 * power);
    }
  }
  // Ends that nothing reaches go; a decade stays, or small differences would
  // fill the picture.
  constexpr size_t least = 4;
  while (ticks.size() > least && ticks[1] <= low)
    ticks.erase(ticks.begin());
  while (ticks.size() > least && ticks[ticks.size() - 2] >= high)
    ticks.pop_back();
  return ticks;
}

std::string escapeXml(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const Utf8Character next = readUtf8(text);
    const uint32_t value = next.value;
    const bool fits =
        next.state == Utf8State::Complete &&
        (value >= 0x20 || value == '\t' || value == '\n' || value == '\r') &&
        value != 0xFFFE && value != 0xFFFF;
    if (!fits)
      out += replacementCharacter;
    else if (value == '&')
      out += "&amp;";
    else if (value == '<')
      out += "&lt;";
    else if (value == '>')
      out += "&gt;";
    else if (value == '"')
      out += "&quot;";
    else
      out += text.substr(0, next.size);
    text.remove_prefix(next.size);
  }
  return out;
}

std::string renderSvg(const ScatterPlot &plot) {
  double lowX = INFINITY, highX = -INFINITY, lowY = INFINITY, highY = -INFINITY;
  bool hasZero = false;
  for (const ScatterPlot::Point &point : plot.points) {
    lowX = std::min(lowX, point.x);
    highX = std::max(highX, point.x);
    if (plot.logarithmic && point.y <= 0) {
      hasZero = true;
      continue;
    }
    lowY = std::min(lowY, point.y);
    highY = std::max(highY, point.y);
  }
  if (!std::isfinite(lowY))
    lowY = highY = 1; // no point is above 0
  const std::vector<double> xTicks = axisTicks(lowX, highX);
  std::vector<double> yTicks =
      plot.logarithmic ? logarithmicTicks(lowY, highY) : axisTicks(lowY, highY);
  // A logarithmic axis never reaches 0: it stands apart, a sixth further down.
  constexpr double apart = 1.0 / 6;
  if (hasZero)
    yTicks.insert(yTicks.begin(),
                  yTicks.front() *
                      std::pow(yTicks.front() / yTicks.back(), apart));
  const auto scale = [&](double value) {
    return plot.logarithmic ? std::log10(std::max(value, yTicks.front()))
                            : value;
  };
  const auto placeX = [&](double x) {
    return left + (right - left) * (x - xTicks.front()) /
                      (xTicks.back() - xTicks.front());
  };
  const auto placeY = [&](double y) {
    return bottom - (bottom - top) * (scale(y) - scale(yTicks.front())) /
                        (scale(yTicks.back()) - scale(yTicks.front()));
  };

  std::string svg = concat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", at(width),
      " ", at(height), "\" width=\"", at(width), "\" height=\"", at(height),
      "\" role=\"img\" aria-label=\"", escapeXml(plot.title), "\">\n", style,
      "<rect width=\"100%\" height=\"100%\" class=\"ground\"/>\n");
  svg += textAt(left, 30, "start", " class=\"title\"", plot.title);
  for (const double tick : xTicks) {
    svg += line(placeX(tick), top, placeX(tick), bottom, "grid");
    svg += textAt(placeX(tick), bottom + 20, "middle", " class=\"tick\"",
                  number(tick));
  }
  for (size_t i = 0; i < yTicks.size(); ++i) {
    const double y = placeY(yTicks[i]);
    svg += line(left, y, right, y, "grid");
    svg += textAt(left - 8, y + 4, "end", " class=\"tick\"",
                  number(hasZero && i == 0 ? 0 : yTicks[i]));
  }
  svg += line(left, bottom, right, bottom, "axis");
  svg += line(left, top, left, bottom, "axis");
  svg += textAt((left + right) / 2, bottom + 48, "middle", "", plot.xLabel);
  const std::string turned =
      concat(" transform=\"rotate(-90 24 ", at((top + bottom) / 2), ")\"");
  svg += textAt(24, (top + bottom) / 2, "middle", turned.c_str(), plot.yLabel);

  std::vector<Placed> placed;
  for (const ScatterPlot::Point &point : plot.points)
    placed.push_back({placeX(point.x), placeY(point.y), &point});
  for (const Placed &point : placed)
    svg += concat("<circle cx=\"", at(point.x), "\" cy=\"", at(point.y),
                  "\" r=\"", at(radius), "\" class=\"point\"><title>",
                  escapeXml(point.point->label + ": " + point.point->detail),
                  "</title></circle>\n");
  return svg + labels(placed) + "</svg>\n";
}

} // namespace lapidary::cli
