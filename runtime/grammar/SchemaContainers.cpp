// Objects and arrays: which members come, in which order, and how many.
#include "runtime/core/Text.h"
#include "runtime/grammar/SchemaGrammar.h"
#include "runtime/model/Unicode.h"

#include <algorithm>
#include <unordered_set>

namespace lapidary {
namespace {

/// Up to this many properties may come in any order: each set of those that
/// have come is a state.
constexpr size_t mostInAnyOrder = 6;
/// Deepest indent that is written.
constexpr int longestIndent = 40;

/// What no name of the tool notation has: its own punctuation, blanks.
const CharSet &nameCharacters() {
  static const CharSet set = CharSet({{0, ' '},
                                      {'"', '"'},
                                      {',', ','},
                                      {':', ':'},
                                      {'<', '<'},
                                      {'>', '>'},
                                      {'[', '['},
                                      {']', ']'},
                                      {'{', '}'},
                                      {0x7F, 0x7F}})
                                 .complement();
  return set;
}

/// Texts that are none of these names.
CharNfa otherNames(const std::vector<std::string> &names,
                   const CharSet &characters) {
  struct Node {
    std::map<uint32_t, uint32_t> children;
    bool ends = false;
  };
  std::vector<Node> tree(1);
  for (const std::string &name : names) {
    uint32_t at = 0;
    for (std::string_view rest = name; !rest.empty();) {
      Utf8Character c = readUtf8(rest);
      rest.remove_prefix(c.size);
      auto [child, isNew] =
          tree[at].children.try_emplace(c.value, uint32_t(tree.size()));
      at = child->second;
      if (isNew)
        tree.emplace_back();
    }
    tree[at].ends = true;
  }
  CharNfa nfa;
  nfa.states.resize(tree.size());
  uint32_t free = nfa.addState();
  nfa.states[free].edges.push_back({characters, free});
  nfa.states[free].accepts = true;
  for (size_t at = 0; at < tree.size(); ++at) {
    CharNfa::State &state = nfa.states[at];
    std::vector<CharRange> taken;
    for (const auto &[character, child] : tree[at].children) {
      taken.push_back({character, character});
      state.edges.push_back({CharSet::of(character), child});
    }
    state.edges.push_back(
        {CharSet(std::move(taken)).complement().intersect(characters), free});
    state.accepts = !tree[at].ends;
  }
  return nfa;
}

} // namespace

GrammarBuilder::State SchemaGrammar::addSpace(State from) {
  if (notation.isGemma())
    return from;
  if (!space) {
    space = builder.newRule("white space");
    State start = builder.newState(), end = builder.newState();
    builder.addSkip(start, end);
    builder.addSymbols(start, ' ', ' ', end);
    State indent = builder.newState();
    builder.addSymbols(start, '\n', '\n', indent);
    for (int width = 0; width < longestIndent; ++width) {
      builder.addSkip(indent, end);
      State next = builder.newState();
      builder.addSymbols(indent, ' ', ' ', next);
      builder.addSymbols(indent, '\t', '\t', next);
      indent = next;
    }
    builder.addSkip(indent, end);
    builder.define(*space, start, end);
  }
  return builder.addCall(from, *space);
}

GrammarBuilder::State SchemaGrammar::addComma(State from) {
  return addSpace(builder.addText(from, ","));
}

/// A name and the colon after it.
GrammarBuilder::State SchemaGrammar::addName(State from,
                                             const std::string &name) {
  if (notation.isGemma())
    return builder.addText(from, name + ":");
  State state = addQuote(addStringText(addQuote(from), name));
  state = builder.addText(state, ":");
  State to = builder.newState();
  builder.addSkip(state, to);
  builder.addSymbols(state, ' ', ' ', to);
  return to;
}

Result<std::vector<SchemaGrammar::Property>>
SchemaGrammar::readProperties(const SchemaJson &schema,
                              const SchemaJson &others, const std::string &at,
                              int depth) {
  const SchemaJson none = SchemaJson::object(), noNames = SchemaJson::array();
  const SchemaJson &declared =
      schema.contains("properties") ? schema["properties"] : none;
  const SchemaJson &required =
      schema.contains("required") ? schema["required"] : noNames;
  if (!declared.is_object())
    return invalidArgument(
        concat("the schema at '", at, "/properties': expected an object"));
  // A boolean beside a property is draft 3's way, which no one checks.
  if (!required.is_array() ||
      !std::all_of(required.begin(), required.end(),
                   [](const SchemaJson &name) { return name.is_string(); }))
    return invalidArgument(
        concat("the schema at '", at, "/required': expected a list of names"));
  std::vector<Property> properties;
  const auto add = [&](const std::string &name, const SchemaJson &type,
                       const std::string &place, bool isRequired) -> Status {
    if (notation.isGemma() &&
        (name.empty() || name.find_first_of(":,{}[]") != std::string::npos ||
         name.front() == ' ' || name.back() == ' ' || name.front() == '"' ||
         name.front() == '\'' ||
         std::any_of(name.begin(), name.end(),
                     [](char c) { return uint8_t(c) < ' '; })))
      return unsupported(concat("the schema at '", place,
                                "': such a name cannot be written in the "
                                "model's tool notation"));
    Rule value = LAPIDARY_TRY(compile(type, place, depth + 1));
    Rule rule = builder.newRule(place);
    State start = builder.newState();
    builder.define(rule, start, builder.addCall(addName(start, name), value));
    properties.push_back({name, rule, isRequired});
    return {};
  };
  std::unordered_set<std::string> requiredNames, names;
  for (const SchemaJson &name : required)
    requiredNames.insert(name.get<std::string>());
  for (const auto &[name, type] : declared.items()) {
    names.insert(name);
    bool isRequired = requiredNames.contains(name);
    if (type == false && !isRequired)
      continue;
    LAPIDARY_TRY(add(name, type, concat(at, "/properties/", name), isRequired));
  }
  for (size_t index = 0; index < required.size(); ++index) {
    std::string name = required[index].get<std::string>();
    if (names.insert(name).second)
      LAPIDARY_TRY(add(name, others, concat(at, "/required/", index), true));
  }
  if (notation.isGemma() && properties.size() > mostInAnyOrder)
    std::sort(properties.begin(), properties.end(),
              [](const Property &a, const Property &b) {
                return std::pair(lowerCase(a.name), a.name) <
                       std::pair(lowerCase(b.name), b.name);
              });
  return properties;
}

/// From `from` to `none` where no member has come, else to `some`.
void SchemaGrammar::addInOrder(const std::vector<Property> &properties,
                               State from, State none, State some) {
  State first = from, later = builder.newState();
  for (const Property &property : properties) {
    State nextFirst = builder.newState(), nextLater = builder.newState();
    builder.addCall(first, property.rule, nextLater);
    builder.addCall(addComma(later), property.rule, nextLater);
    if (!property.required) {
      builder.addSkip(first, nextFirst);
      builder.addSkip(later, nextLater);
    }
    first = nextFirst;
    later = nextLater;
  }
  builder.addSkip(first, none);
  builder.addSkip(later, some);
}

void SchemaGrammar::addInAnyOrder(const std::vector<Property> &properties,
                                  State from, State none, State some) {
  size_t count = size_t(1) << properties.size(), required = 0;
  std::vector<State> states{from};
  while (states.size() < count)
    states.push_back(builder.newState());
  for (size_t index = 0; index < properties.size(); ++index)
    required |= size_t(properties[index].required) << index;
  for (size_t have = 0; have < count; ++have) {
    State next =
        have == 0 || have == count - 1 ? states[have] : addComma(states[have]);
    for (size_t index = 0; index < properties.size(); ++index)
      if (!(have >> index & 1))
        builder.addCall(next, properties[index].rule,
                        states[have | size_t(1) << index]);
    if ((have & required) == required)
      builder.addSkip(states[have], have == 0 ? none : some);
  }
}

/// A name that is not declared, and its value.
Result<GrammarBuilder::Rule> SchemaGrammar::memberRule(
    const SchemaJson &schema, const std::vector<Property> &declared,
    const SchemaJson &others, const std::string &at, int depth) {
  Rule value =
      LAPIDARY_TRY(compile(others, at + "/additionalProperties", depth + 1));
  Rule rule = builder.newRule(at + "/additionalProperties");
  State state = builder.newState(), start = state;
  if (schema.contains("propertyNames")) {
    if (!declared.empty() || notation.isGemma())
      return unsupported(concat("the schema at '", at,
                                "/propertyNames': 'propertyNames' beside "
                                "'properties', or in a tool's parameters, is "
                                "not supported"));
    std::optional<SchemaJson> name = LAPIDARY_TRY(
        merger.merge(singleKeyword("type", "string"), schema["propertyNames"],
                     at + "/propertyNames"));
    state = builder.addCall(
        state, LAPIDARY_TRY(compile(name ? *name : SchemaJson(false),
                                    at + "/propertyNames", depth + 1)));
  } else {
    std::vector<std::string> names;
    for (const Property &property : declared)
      names.push_back(property.name);
    // Names that are declared and forbidden must not come in this way.
    if (schema.contains("properties"))
      for (const auto &[name, type] : schema["properties"].items())
        names.push_back(name);
    CharNfa nfa = otherNames(names, notation.isGemma() ? nameCharacters()
                                                       : CharSet::any());
    if (notation.isGemma())
      nfa.states[0].accepts = false;
    else
      state = addQuote(state);
    State end = builder.newState();
    LAPIDARY_TRY(addNfa(std::move(nfa), !notation.isGemma(), state, end));
    state = notation.isGemma() ? end : addQuote(end);
  }
  state = builder.addText(state, ":");
  State next = builder.newState();
  builder.addSkip(state, next);
  if (!notation.isGemma())
    builder.addSymbols(state, ' ', ' ', next);
  builder.define(rule, start, builder.addCall(next, value));
  return rule;
}

Status SchemaGrammar::addObject(const SchemaJson &schema, const std::string &at,
                                int depth, State from, State to) {
  const SchemaJson others = schema.contains("additionalProperties")
                                ? schema["additionalProperties"]
                            : schema.contains("properties") ? SchemaJson(false)
                                                            : SchemaJson(true);
  // A name that is required and not declared may have any value, unless
  // additionalProperties speaks about it.
  const SchemaJson undeclared = schema.contains("additionalProperties")
                                    ? schema["additionalProperties"]
                                    : SchemaJson(true);
  std::vector<Property> properties =
      LAPIDARY_TRY(readProperties(schema, undeclared, at, depth));
  bool isMap = properties.empty();
  bool open = others != false;
  int64_t least = LAPIDARY_TRY(readCount(schema, "minProperties", 0, at)),
          most = LAPIDARY_TRY(readCount(schema, "maxProperties", -1, at));
  int64_t required =
      std::count_if(properties.begin(), properties.end(),
                    [](const Property &property) { return property.required; });
  if (!isMap && least <= required)
    least = 0;
  if (!open && most >= static_cast<int64_t>(properties.size()))
    most = -1;
  // Names may repeat, which counts once.
  if ((!isMap && (least > 0 || most >= 0)) || (isMap && least > 1))
    return unsupported(concat("the schema at '", at, "/",
                              least > 0 ? "minProperties" : "maxProperties",
                              "': such a count of properties is not "
                              "supported"));
  State state = addSpace(builder.addText(from, "{"));
  State none = builder.newState(), some = builder.newState(),
        end = builder.newState();
  if (notation.isGemma() && properties.size() <= mostInAnyOrder)
    addInAnyOrder(properties, state, none, some);
  else
    addInOrder(properties, state, none, some);
  if (least == 0)
    builder.addSkip(none, end);
  if (open && most != 0) {
    Rule member =
        LAPIDARY_TRY(memberRule(schema, properties, others, at, depth));
    State last = some;
    if (most < 0) {
      builder.addCall(none, member, some);
      builder.addCall(addComma(some), member, some);
    } else {
      builder.addCall(none, member, some);
      for (int64_t count = 1; count < most && !builder.full(); ++count) {
        builder.addSkip(last, end);
        last = builder.addCall(addComma(last), member);
      }
    }
    builder.addSkip(last, end);
  } else {
    builder.addSkip(some, end);
  }
  builder.addSkip(builder.addText(addSpace(end), "}"), to);
  return {};
}

Status SchemaGrammar::addArray(const SchemaJson &schema, const std::string &at,
                               int depth, State from, State to) {
  const SchemaJson noItems = SchemaJson::array();
  // Draft 7 wrote the first items as a list in `items`, and the rest apart.
  bool old = schema.contains("items") && schema["items"].is_array();
  const char *listKey = old ? "items" : "prefixItems",
             *restKey = old ? "additionalItems" : "items";
  const SchemaJson &list = schema.contains(listKey) ? schema[listKey] : noItems;
  const SchemaJson rest =
      schema.contains(restKey) ? schema[restKey] : SchemaJson(true);
  if (!list.is_array())
    return invalidArgument(concat("the schema at '", at, "/", listKey,
                                  "': expected a list of schemas"));
  int64_t least = LAPIDARY_TRY(readCount(schema, "minItems", 0, at)),
          most = LAPIDARY_TRY(readCount(schema, "maxItems", -1, at));
  auto listed = static_cast<int64_t>(list.size());
  if (rest == false)
    most = most < 0 ? listed : std::min(most, listed);
  std::optional<Rule> others;
  if (most < 0 || most > listed)
    others = LAPIDARY_TRY(compile(rest, concat(at, "/", restKey), depth + 1));
  State state = addSpace(builder.addText(from, "["));
  State end = builder.newState();
  // Behind the items of which the number matters, any further ones.
  int64_t counted = most >= 0 ? most : std::max(least, listed);
  for (int64_t index = 0;; ++index) {
    if (index >= least)
      builder.addSkip(state, end);
    bool last = index >= counted;
    if ((last && most >= 0) || builder.full())
      break;
    Rule item = index < listed
                    ? LAPIDARY_TRY(compile(list[static_cast<size_t>(index)],
                                           concat(at, "/", listKey, "/", index),
                                           depth + 1))
                    : *others;
    State next = builder.addCall(index > 0 ? addComma(state) : state, item);
    if (last) {
      builder.addSkip(next, end);
      builder.addCall(addComma(next), item, next);
      break;
    }
    state = next;
  }
  builder.addSkip(builder.addText(addSpace(end), "]"), to);
  return {};
}

} // namespace lapidary
