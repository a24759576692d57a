# Sourced by the batch script of a job right after srun: requeue a run that was stopped and can go on, and only such.
# The codes are those of src/wegeft/exits.py, and 128 + the number of a signal that has ended the process.
code=$?
case $code in
    75) ;;         # the run has saved its state and ended
    4) ;;          # another process works at the run, e.g. one that a lost node has not ended yet
    6) ;;          # nothing moved any more, which may be the fault of the node
    140 | 143) ;;  # USR2 or TERM has struck before the run could listen, e.g. while Python was starting
    *) exit "$code" ;;
esac

# A job that was cancelled is not brought back, and one that SLURM requeues itself (preemption) is not requeued twice.
# Both end in the same signals, so SLURM is asked and not the signal.
state=$(squeue --noheader --jobs="$SLURM_JOB_ID" --states=all --format=%T)
if [ "$state" != RUNNING ]; then
    echo "The run was stopped (exit code $code) and is left to SLURM, which calls the job ${state:-gone}."
    exit "$code"
fi
if [ "${SLURM_RESTART_COUNT:-0}" -ge "${WEGEFT_MAX_REQUEUES:-100}" ]; then
    echo "The run was stopped (exit code $code) and not requeued, because it has been ${SLURM_RESTART_COUNT:-0} times."
    exit "$code"
fi
echo "The run was stopped (exit code $code); it is requeued and goes on from its checkpoint."
scontrol requeue "$SLURM_JOB_ID" || exit "$code"
sleep 300 # until SLURM ends this script
exit "$code"
