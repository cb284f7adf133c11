/* SPDX-License-Identifier: Apache-2.0
 *
 * The subcommands. Each returns the exit status of the program.
 */
#ifndef LV_TOOLS_TOOLS_H
#define LV_TOOLS_TOOLS_H

#define LV_TOOL(name, summary) int lv_tool_##name(int argc, char **argv);
#include "tools/tools.def"
#undef LV_TOOL

#endif
