namespace SorsaOrt.Trainer;

/// <summary>The factor on the loss that keeps float16 gradients in range: halved when they overflow, doubled after many steps in which they do not.</summary>
/// <remarks>
/// A power of two, so that scaling and unscaling round nothing. A step whose gradients overflow is made again on the same rows, so the steps of a run, its
/// learning rates and the order of its rows do not depend on overflows. Source: Micikevicius et al., arXiv 1710.03740; PyTorch's GradScaler has the same numbers.
/// </remarks>
/// <param name="scale">A power of two.</param>
/// <param name="goodSteps">Steps made with it.</param>
/// <param name="overflows">Overflows before.</param>
internal sealed class LossScaling(long scale, long goodSteps = 0, long overflows = 0)
{
    /// <summary>Scale that a run begins with.</summary>
    public const long Initial = 1L << 16;

    /// <summary>Largest scale.</summary>
    public const long Most = 1L << 40;

    private const long StepsToDouble = 2000;

    /// <summary>The factor, from 1 to <see cref="Most"/>.</summary>
    public long Scale { get; private set; } = scale;

    /// <summary>Steps since it changed.</summary>
    public long GoodSteps { get; private set; } = goodSteps;

    /// <summary>Times that a step overflowed and was made again.</summary>
    public long Overflows { get; private set; } = overflows;

    /// <summary>After gradients that overflowed; false where the scale is at its least, so that they overflow for another reason.</summary>
    public bool TryHalve()
    {
        if (Scale <= 1)
            return false;
        (Scale, GoodSteps, Overflows) = (Scale / 2, 0, Overflows + 1);
        return true;
    }

    /// <summary>After a step that was made.</summary>
    public void StepMade()
    {
        if (++GoodSteps < StepsToDouble)
            return;
        (Scale, GoodSteps) = (Math.Min(2 * Scale, Most), 0);
    }
}
