// The names that templates may use beyond their own: the compiler refuses any
// other (frontends/formats/TemplateParser.cpp), and the interpreter knows all
// of these.
#pragma once

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>

namespace lapidary::chat {

/// Levels of a template's tree.
constexpr unsigned deepestTree = 300;
/// Nodes in each other while a template runs, macros' calls included: far from
/// the end of a thread's stack.
constexpr int deepestCall = 1000;

constexpr std::string_view filterNames[] = {
    "abs",        "count",      "d",       "default", "dictsort",
    "first",      "float",      "int",     "items",   "join",
    "last",       "length",     "list",    "lower",   "map",
    "reject",     "rejectattr", "replace", "reverse", "select",
    "selectattr", "string",     "tojson",  "trim",    "upper"};

constexpr std::string_view testNames[] = {
    "!=",      "<",        "<=",       "==",          ">",           ">=",
    "boolean", "callable", "defined",  "divisibleby", "eq",          "equalto",
    "even",    "false",    "float",    "ge",          "greaterthan", "gt",
    "in",      "integer",  "iterable", "le",          "lessthan",    "lt",
    "mapping", "ne",       "none",     "number",      "odd",         "sequence",
    "string",  "true",     "undefined"};

/// Of strings and of mappings.
constexpr std::string_view methodNames[] = {
    "endswith", "find",       "get",    "items",   "join",
    "keys",     "lower",      "lstrip", "replace", "rstrip",
    "split",    "startswith", "strip",  "upper",   "values"};

constexpr std::string_view functionNames[] = {"dict", "namespace",
                                              "raise_exception", "range"};

/// What `loop` has.
constexpr std::string_view loopNames[] = {
    "depth",  "depth0",   "first",    "index",    "index0",   "last",
    "length", "nextitem", "previtem", "revindex", "revindex0"};

/// Arguments that filters take by name; those that are not listed take none.
/// What `map` passes on to another filter is that filter's.
struct FilterArguments {
  std::string_view filter;
  std::string_view names[3];
};
constexpr FilterArguments filterArguments[] = {
    {"d", {"default_value", "boolean"}},
    {"default", {"default_value", "boolean"}},
    {"dictsort", {"case_sensitive", "by", "reverse"}},
    {"float", {"default"}},
    {"int", {"default"}},
    {"join", {"d"}},
    {"map", {"attribute", "default"}},
    {"replace", {"old", "new", "count"}},
    {"tojson", {"indent", "ensure_ascii"}},
    {"trim", {"chars"}}};

template <size_t N>
constexpr bool hasName(const std::string_view (&names)[N],
                       std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

constexpr bool takesArgument(std::string_view filter, std::string_view name) {
  for (const FilterArguments &each : filterArguments)
    if (each.filter == filter)
      return hasName(each.names, name);
  return false;
}

template <size_t N> std::string listNames(const std::string_view (&names)[N]) {
  std::string list;
  for (std::string_view name : names)
    list.append(list.empty() ? "" : ", ").append(name);
  return list;
}

} // namespace lapidary::chat
