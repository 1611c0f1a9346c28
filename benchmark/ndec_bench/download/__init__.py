"""From remote files to verified files under the data root: sources, ranges, jobs, trust."""
