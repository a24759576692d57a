# GPUs by number; the quality of service, not the partition, says how long and how many.
export SBATCH_QOS=normal
export SBATCH_GPUS_PER_NODE=1
export SBATCH_MEM_PER_NODE=64G
export SBATCH_TIMELIMIT=12:00:00
