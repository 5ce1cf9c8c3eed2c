// Formats as patterns. What they allow is valid under the RFC that JSON Schema
// names; of rare forms (leap seconds, comments in addresses) nothing is
// allowed.
#include "runtime/grammar/StringFormats.h"

#include <array>
#include <utility>

namespace lapidary {
namespace {

// Years 1000 to 9999, the days that each month has, February 29 in leap years.
#define LAPIDARY_DATE                                                          \
  "([1-9]\\d{3}-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|"                     \
  "(0[469]|11)-(0[1-9]|[12]\\d|30)|02-(0[1-9]|1\\d|2[0-8]))|"                  \
  "([1-9]\\d(0[48]|[2468][048]|[13579][26])|"                                  \
  "([2468][048]|[13579][26])00)-02-29)"
#define LAPIDARY_TIME                                                          \
  "(([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?"                          \
  "(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d))"
#define LAPIDARY_LABEL "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define LAPIDARY_CLOCK                                                         \
  "T(\\d{1,6}H(\\d{1,6}M(\\d{1,6}S)?)?|\\d{1,6}M(\\d{1,6}S)?|\\d{1,6}S)"
#define LAPIDARY_HEX "[0-9A-Fa-f]{1,4}"
#define LAPIDARY_BYTE "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define LAPIDARY_URI "([A-Za-z0-9._~:/?@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"

constexpr std::array<std::pair<std::string_view, std::string_view>, 14>
    patterns = {{
        {"date", "^" LAPIDARY_DATE "$"},
        {"time", "^" LAPIDARY_TIME "$"},
        {"date-time", "^" LAPIDARY_DATE "T" LAPIDARY_TIME "$"},
        {"duration",
         "^P(\\d{1,6}W|" LAPIDARY_CLOCK "|(\\d{1,6}D|\\d{1,6}M(\\d{1,6}D)?|"
         "\\d{1,6}Y(\\d{1,6}M(\\d{1,6}D)?)?)(" LAPIDARY_CLOCK ")?)$"},
        {"uuid", "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"},
        {"email", "^[A-Za-z0-9_%+-]+(\\.[A-Za-z0-9_%+-]+)*@" LAPIDARY_LABEL
                  "(\\." LAPIDARY_LABEL ")+$"},
        {"hostname", "^" LAPIDARY_LABEL "(\\." LAPIDARY_LABEL ")*$"},
        {"ipv4", "^(" LAPIDARY_BYTE "\\.){3}" LAPIDARY_BYTE "$"},
        {"ipv6",
         "^((" LAPIDARY_HEX ":){7}" LAPIDARY_HEX "|(" LAPIDARY_HEX
         ":){1,7}:|(" LAPIDARY_HEX ":){1,6}:" LAPIDARY_HEX "|(" LAPIDARY_HEX
         ":){1,5}(:" LAPIDARY_HEX "){2}|(" LAPIDARY_HEX ":){1,4}(:" LAPIDARY_HEX
         "){3}|(" LAPIDARY_HEX ":){1,3}(:" LAPIDARY_HEX "){4}|(" LAPIDARY_HEX
         ":){1,2}(:" LAPIDARY_HEX "){5}|" LAPIDARY_HEX ":(:" LAPIDARY_HEX
         "){6}|:(:" LAPIDARY_HEX "){1,7}|::)$"},
        {"uri",
         "^[A-Za-z][A-Za-z0-9+.-]*:" LAPIDARY_URI "+(#" LAPIDARY_URI "*)?$"},
        {"json-pointer", "^(/([^~/]|~[01])*)*$"},
        {"byte",
         "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"},
        {"password", ""},
        {"binary", ""},
    }};

} // namespace

std::optional<std::string_view> formatPattern(std::string_view format) {
  for (const auto &[name, pattern] : patterns)
    if (name == format)
      return pattern;
  return std::nullopt;
}

} // namespace lapidary
