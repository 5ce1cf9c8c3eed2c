// The arguments of a tool call, from Gemma's notation to JSON as they come:
// `{key:<|"|>text<|"|>,n:1,list:[{...}]}` becomes `{"key":"text","n":1,...`.
// Whatever comes, what was given out and what `finish` adds are one JSON
// object.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lapidary::chat {

class CallArguments {
public:
  /// What follows the first brace; appends JSON to `out`.
  void text(std::string_view piece, std::string &out);
  /// The token that begins and ends strings.
  void stringMark(std::string &out);
  /// Ends whatever is open.
  void finish(std::string &out);

private:
  enum class State : uint8_t {
    /// Before the first brace has been given out.
    Start,
    /// A key or the end of an object.
    Key,
    /// In a key that stands between marks.
    MarkedKey,
    /// A value or the end of a list.
    Value,
    /// Between marks.
    String,
    /// A number, a name or what else has no marks.
    Bare,
    /// A string in plain quotes, which the notation does not have.
    Quoted,
    /// A comma or the end.
    After,
    Done,
  };
  struct Container {
    bool isList;
    bool hasItems = false;
    /// Of an object: a key waits for its value.
    bool hasKey = false;
  };

  void take(char c, std::string &out);
  void takeKey(char c, std::string &out);
  void takeValue(char c, std::string &out);
  void takeQuoted(char c, std::string &out);
  void beginValue(std::string &out);
  void endKey(std::string &out);
  void endBare(std::string &out);
  void open(bool isList, std::string &out);
  /// Ends the innermost container of that kind and all in it.
  void close(bool isList, std::string &out);
  void pop(std::string &out);

  State state = State::Start;
  std::vector<Container> containers;
  /// A key, or a value that is given out as a whole.
  std::string pending;
  bool isEscaped = false;
};

} // namespace lapidary::chat
