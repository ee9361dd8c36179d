using System.Text.Json.Serialization;
using SorsaOrt.Artifacts;

namespace SorsaOrt.Trainer;

/// <summary>How the learning rate falls after warm-up.</summary>
[JsonConverter(typeof(StrictEnumConverter<ScheduleShape>))]
public enum ScheduleShape
{
    /// <summary>Half a cosine from the peak to 0.</summary>
    [JsonStringEnumMemberName("cosine")]
    Cosine,

    /// <summary>A line from the peak to 0.</summary>
    [JsonStringEnumMemberName("linear")]
    Linear,

    /// <summary>The peak throughout.</summary>
    [JsonStringEnumMemberName("constant")]
    Constant,
}

/// <summary>Learning rate of each optimizer step.</summary>
/// <remarks>
/// Update t = 0, 1, …, T − 1 with w warm-up steps and peak η: η·t/w while t &lt; w, so the first update has rate 0 (moments and bias
/// correction still advance); then cosine η·½(1 + cos(π·(t − w)/(T − w))), linear η·(T − t)/(T − w), or η.
/// Source: transformers' get_cosine_schedule_with_warmup and its kin, as goldens/REFERENCE.md records.
/// </remarks>
public sealed class LearningRateSchedule
{
    private readonly ScheduleShape _shape;
    private readonly double _peak;

    /// <summary>A schedule.</summary>
    /// <param name="shape">How it falls.</param>
    /// <param name="peak">Highest rate η.</param>
    /// <param name="totalSteps">Optimizer steps T of the whole run, at least 1.</param>
    /// <param name="warmup">Below 1 a share of T, rounded up; otherwise steps.</param>
    public LearningRateSchedule(ScheduleShape shape, double peak, long totalSteps, double warmup)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(totalSteps, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(warmup);
        _shape = shape;
        _peak = peak;
        TotalSteps = totalSteps;
        WarmupSteps = (long)Math.Ceiling(warmup < 1 ? totalSteps * warmup : warmup);
    }

    /// <summary>Optimizer steps T of the whole run.</summary>
    public long TotalSteps { get; }

    /// <summary>Steps w that the rate rises for.</summary>
    public long WarmupSteps { get; }

    /// <summary>Rate of update <paramref name="step"/>, counted from 0.</summary>
    public double Rate(long step)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(step);
        if (step < WarmupSteps)
            return _peak * step / WarmupSteps;
        double length = Math.Max(1, TotalSteps - WarmupSteps);
        return _shape switch
        {
            ScheduleShape.Cosine => _peak * Math.Max(0, 0.5 * (1 + Math.Cos(Math.PI * (step - WarmupSteps) / length))),
            ScheduleShape.Linear => _peak * Math.Max(0, TotalSteps - step) / length,
            _ => _peak,
        };
    }
}
