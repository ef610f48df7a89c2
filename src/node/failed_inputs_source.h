/* failed_inputs_source.h: the text of failed_inputs.py, which the build puts into the program. */
#ifndef CASK_NODE_FAILED_INPUTS_SOURCE_H
#define CASK_NODE_FAILED_INPUTS_SOURCE_H

extern const char failed_inputs_source[];

#endif
