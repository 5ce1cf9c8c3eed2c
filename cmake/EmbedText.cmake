# cmake -DINPUT=FILE -DOUTPUT=FILE.cpp -DSYMBOL=NAME -P EmbedText.cmake: a text file as `const char *const NAME`,
# ended by a zero.
file(READ ${INPUT} hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
file(WRITE ${OUTPUT} "// Made of ${INPUT}.
namespace lapidary::serve {
extern const char *const ${SYMBOL};
static const unsigned char bytes[] = {${bytes}0};
const char *const ${SYMBOL} = reinterpret_cast<const char *>(bytes);
} // namespace lapidary::serve
")
