// Finds a checkpoint's template and its variables, and writes the table.
#include "frontends/formats/ChatTemplateFile.h"

#include "frontends/formats/Gguf.h"
#include "frontends/formats/Json.h"
#include "frontends/formats/TemplateParser.h"
#include "runtime/core/Text.h"
#include "runtime/model/Unicode.h"

#include <filesystem>

namespace lapidary {

namespace {

/// Those in use have some 20 KB.
constexpr uint64_t maxTemplateBytes = 1 << 20;
constexpr uint64_t maxConfigBytes = 64 << 20;

/// Each text once.
class Strings {
public:
  explicit Strings(flatbuffers::FlatBufferBuilder &builder)
      : builder(builder) {}

  uint32_t add(const std::string &text) {
    auto [place, isNew] = indices.try_emplace(text, strings.size());
    if (isNew)
      strings.push_back(builder.CreateString(text));
    return place->second;
  }

  std::vector<flatbuffers::Offset<flatbuffers::String>> strings;

private:
  flatbuffers::FlatBufferBuilder &builder;
  std::map<std::string, uint32_t> indices;
};

bool hasText(schema::TemplateKind kind) {
  using Kind = schema::TemplateKind;
  switch (kind) {
  case Kind::Text:
  case Kind::Macro:
  case Kind::Parameter:
  case Kind::String:
  case Kind::Integer:
  case Kind::Float:
  case Kind::Name:
  case Kind::Attribute:
  case Kind::Keyword:
  case Kind::Filter:
  case Kind::Test:
    return true;
  default:
    return false;
  }
}

/// Of the list of templates that older checkpoints have, the one for chats.
const nlohmann::json *findTemplate(const nlohmann::json &config) {
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null())
    return nullptr;
  if (!found->is_array())
    return &*found;
  for (const nlohmann::json &entry : *found)
    if (entry.is_object() &&
        entry.value("name", nlohmann::json()) == "default" &&
        entry.contains("template"))
      return &entry["template"];
  return nullptr;
}

} // namespace

Result<std::vector<uint8_t>>
compileTemplate(std::string_view source, const std::string &origin,
                const TemplateVariables &variables) {
  if (source.size() > maxTemplateBytes)
    return unsupported(concat(origin, ": expected a template of at most ",
                              maxTemplateBytes, " bytes, found ",
                              source.size()));
  const TemplateTree tree = LAPIDARY_TRY(parseTemplate(source, origin));
  flatbuffers::FlatBufferBuilder builder;
  Strings strings(builder);
  std::vector<schema::TemplateNode> nodes;
  std::vector<uint32_t> links;
  for (const TemplateTree::Node &node : tree.nodes) {
    nodes.emplace_back(node.kind, node.line,
                       hasText(node.kind) ? strings.add(node.text) : UINT32_MAX,
                       static_cast<uint32_t>(links.size()),
                       static_cast<uint32_t>(node.children.size()));
    links.insert(links.end(), node.children.begin(), node.children.end());
  }
  std::vector<flatbuffers::Offset<schema::TemplateVariable>> given;
  for (const auto &[name, value] : variables) {
    if (!isValidUtf8(name) || !isValidUtf8(value))
      return invalidData(origin + ": a variable is not UTF-8");
    given.push_back(schema::CreateTemplateVariableDirect(builder, name.c_str(),
                                                         value.c_str()));
  }
  const auto stringsAt = builder.CreateVector(strings.strings);
  const auto nodesAt = builder.CreateVectorOfStructs(nodes);
  const auto linksAt = builder.CreateVector(links);
  const auto variablesAt = builder.CreateVector(given);
  builder.Finish(schema::CreateChatTemplate(builder, 1, stringsAt, nodesAt,
                                            linksAt, variablesAt),
                 schema::ChatTemplateIdentifier());
  return std::vector<uint8_t>(builder.GetBufferPointer(),
                              builder.GetBufferPointer() + builder.GetSize());
}

Result<std::vector<uint8_t>> compileFolderTemplate(const std::string &folder) {
  const std::string configPath = folder + "/tokenizer_config.json";
  const std::string path = folder + "/chat_template.jinja";
  nlohmann::json config = nlohmann::json::object();
  if (std::filesystem::exists(configPath))
    config = LAPIDARY_TRY(parseJsonObject(
        LAPIDARY_TRY(readTextFile(configPath, maxConfigBytes)), configPath));
  TemplateVariables variables;
  for (const auto &item : config.items()) {
    // Either the token or an object that says more about it.
    const nlohmann::json &value =
        item.value().is_object()
            ? item.value().value("content", nlohmann::json())
            : item.value();
    if (item.key().ends_with("_token") && value.is_string())
      variables[item.key()] = value.get<std::string>();
  }
  if (std::filesystem::exists(path))
    return compileTemplate(LAPIDARY_TRY(readTextFile(path, maxTemplateBytes)),
                           path, variables);
  const nlohmann::json *own = findTemplate(config);
  if (!own)
    return std::vector<uint8_t>();
  if (!own->is_string())
    return invalidData(configPath +
                       ": chat_template: expected a string, found " +
                       describeJson(own));
  return compileTemplate(own->get<std::string>(),
                         configPath + ": chat_template", variables);
}

Result<std::vector<uint8_t>> compileGgufTemplate(const GgufFile &file) {
  const GgufValue *value = file.get("tokenizer.chat_template");
  if (!value)
    return std::vector<uint8_t>();
  const std::string origin = file.path() + ": tokenizer.chat_template";
  const std::optional<std::string_view> source = value->string();
  if (!source || value->isArray())
    return invalidData(origin + ": expected a string");
  TemplateVariables variables;
  const GgufValue *tokens = file.get("tokenizer.ggml.tokens");
  constexpr std::pair<const char *, const char *> names[] = {
      {"bos_token", "tokenizer.ggml.bos_token_id"},
      {"eos_token", "tokenizer.ggml.eos_token_id"},
      {"pad_token", "tokenizer.ggml.padding_token_id"},
      {"unk_token", "tokenizer.ggml.unknown_token_id"}};
  for (const auto &[name, key] : names) {
    const GgufValue *given = file.get(key);
    const std::optional<int64_t> id = given ? given->integer() : std::nullopt;
    if (!id || *id < 0 || !tokens ||
        static_cast<uint64_t>(*id) >= tokens->count)
      continue;
    if (auto token = tokens->string(static_cast<uint64_t>(*id)))
      variables[name] = std::string(*token);
  }
  return compileTemplate(*source, origin, variables);
}

} // namespace lapidary
